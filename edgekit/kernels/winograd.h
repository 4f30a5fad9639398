/* Convolutions with 3x3 windows by Winograd's F(4, 3) along the columns: an item is a unit, a tile of its pixels, which are whole
 * groups of four rows or a stretch of one group, and where these are few a part of its outputs.
 *
 * Six combinations of six rows of what is read, its parts, lie in lines of scratch: part by part, tap by tap. A line has the zeros or
 * pixels beside the tile too, and groups of rows one after the other with the gaps of the planes. */

#define ROWS 4
#define PARTS 6
#define PRODUCTS (PARTS * TILE) /* of an output */
#define LINE (TILE + 2 * LANES) /* room for what is beside a tile */

static const float ONES[TILE] = {[0 ... TILE - 1] = 1};

typedef struct {
    int group, groups; /* of rows: the first one, and how many */
    int column, columns;
    int length; /* of its lines */
} winograd_tile;

static int groups_of(const winograd_step *a) { return divided(a->height, ROWS); }
static int groups_together(const winograd_step *a) { return a->pitch < TILE ? TILE / a->pitch : 1; }
static int stretches(const winograd_step *a) { return a->width > TILE ? divided(a->width, TILE) : 1; }

static int winograd_tiles(const winograd_step *a) { return divided(groups_of(a), groups_together(a)) * stretches(a); }

static winograd_tile tile_of(const winograd_step *a, int number) {
    int along = stretches(a), bands = divided(groups_of(a), groups_together(a)), band = number / along, groups = groups_of(a);
    winograd_tile t;
    t.group = (int)((long)groups * band / bands);
    t.groups = (int)((long)groups * (band + 1) / bands) - t.group;
    t.column = (int)((long)a->width * (number % along) / along);
    t.columns = (int)((long)a->width * (number % along + 1) / along) - t.column;
    t.length = (t.groups - 1) * a->pitch + t.columns;
    return t;
}

static int most_planes(const program *p, const winograd_step *a) {
    const unit *u = (const unit *)(p->table + a->unit_table);
    int most = 0;
    for (int i = 0; i < a->units; i++)
        if (u[i].taps > most) most = u[i].taps;
    return most;
}

static void plan_winograd(const program *p, work_step *s, const winograd_step *a, int threads) {
    const unit *u = (const unit *)(p->table + a->unit_table);
    int strips = 1;
    for (int i = 0; i < a->units; i++)
        if (divided(u[i].outputs, FEW) > strips) strips = divided(u[i].outputs, FEW);
    s->tiles = winograd_tiles(a);
    s->parts = divided(threads, s->tiles * a->units); /* each combines anew the rows that it reads */
    if (s->parts > strips) s->parts = strips;
    s->items = s->tiles * a->units * s->parts;
}

/* Scratch: lines of all taps' parts, and all outputs' products. */
static size_t winograd_scratch(const program *p, const winograd_step *a) {
    const unit *u = (const unit *)(p->table + a->unit_table);
    int outputs = 0;
    for (int i = 0; i < a->units; i++)
        if (u[i].outputs > outputs) outputs = u[i].outputs;
    return LANES + PARTS * (size_t)most_planes(p, a) * LINE + ((size_t)outputs + 1) * PRODUCTS;
}

static inline void combine_before(const vec *x, vec *part) {
    vec a = x[4] - x[2] * ALL(4), b = x[3] - x[1] * ALL(4), c = x[4] - x[2], d = (x[3] - x[1]) * ALL(2);
    part[0] = x[0] * ALL(4) - x[2] * ALL(5) + x[4];
    part[1] = a + b;
    part[2] = a - b;
    part[3] = c + d;
    part[4] = c - d;
    part[5] = x[1] * ALL(4) - x[3] * ALL(5) + x[5];
}

static inline void combine_after(const vec *part, vec *y) {
    vec a = part[1] + part[2], b = part[1] - part[2], c = part[3] + part[4], d = part[3] - part[4];
    y[0] = part[0] + a + c;
    y[1] = b + d * ALL(2);
    y[2] = a + c * ALL(4);
    y[3] = b + d * ALL(8) + part[5];
}

/* The parts of one plane, `apart` floats from each other. */
static void winograd_lines(const winograd_step *a, const winograd_tile *t, const float *plane, float *line, long apart) {
    int left = t->column ? t->column - 1 : 0, right = t->column + t->columns;
    int end = right < a->width ? right + 1 : right;
    for (int g = 0; g < t->groups; g++) {
        int top = ROWS * (t->group + g) - 1;
        const float *row = plane + (long)top * a->pitch;
        float *to = line + (long)g * a->pitch - t->column;
        for (int x = left; x < end; x += LANES) {
            int there = end - x;
            vec six[PARTS], part[PARTS];
            _Pragma("GCC unroll 6") for (int j = 0; j < PARTS; j++) {
                const float *here = row + (long)j * a->pitch + x;
                int inside = top + j >= 0 && top + j < a->height;
                six[j] = !inside ? ALL(0) : there < LANES ? LOAD_SOME(here, there) : LOAD(here);
            }
            combine_before(six, part);
            /* What is written beyond the end is overwritten by the gap's zeros and by the next row, or never counts. */
            _Pragma("GCC unroll 6") for (int k = 0; k < PARTS; k++) STORE(to + k * apart + x, part[k]);
        }
        for (int k = 0; k < PARTS; k++) {
            if (!g && !t->column) line[k * apart - 1] = 0;
            if (right == a->width)
                for (int x = right; x < (g + 1 < t->groups ? a->pitch : right + 1); x++) to[k * apart + x] = 0;
        }
    }
}

/* One output's products into its rows. */
static void winograd_rows(const program *p, const winograd_step *a, const winograd_tile *t, const float *products, int plane,
                          float bias) {
    const float *limits = p->constants + a->limits;
    vec low = ALL(limits[0]), high = ALL(limits[1]), more = ALL(bias);
    for (int g = 0; g < t->groups; g++) {
        int y = ROWS * (t->group + g), rows = a->height - y < ROWS ? a->height - y : ROWS;
        float *to = p->arena + plane + (long)y * a->pitch + t->column;
        const float *from = products + (long)g * a->pitch;
        for (int x = 0; x < t->columns; x += LANES) {
            int there = t->columns - x;
            vec part[PARTS], found[ROWS];
            _Pragma("GCC unroll 6") for (int k = 0; k < PARTS; k++) part[k] = LOAD(from + k * TILE + x);
            combine_after(part, found);
            for (int i = 0; i < rows; i++) {
                vec v = MIN(MAX(found[i] + more, low), high);
                if (there < LANES)
                    STORE_SOME(to + (long)i * a->pitch + x, v, there);
                else
                    STORE(to + (long)i * a->pitch + x, v);
            }
        }
    }
}

static void winograd_item(const machine *m, const program *p, const work_step *s, const winograd_step *a, int item, int who) {
    const unit *u = (const unit *)(p->table + a->unit_table) + item % a->units;
    int part = item / a->units / s->tiles, strips = divided(u->outputs, FEW);
    int strip = (int)((long)strips * part / s->parts), end = (int)((long)strips * (part + 1) / s->parts);
    if (strip == end) return;
    winograd_tile t = tile_of(a, item / a->units % s->tiles);
    long apart = (long)u->taps * LINE;
    float *lines = m->scratch[who] + LANES, *products = lines + PARTS * apart;
    const int *planes = p->table + u->tap_table;
    for (int tap = 0; tap < u->taps; tap++) winograd_lines(a, &t, p->arena + planes[tap], lines + (long)tap * LINE, apart);
    const float free_[2] = {-__builtin_inff(), __builtin_inff()};
    static const float none[FEW];
    int wide = divided(t.length, LANES), outputs = u->outputs;
    for (int k = 0; k < PARTS; k++) /* whose lines stay in the nearest cache for all strips */
        for (int i = strip; i < end; i++) {
            int rows = outputs - i * FEW < FEW ? outputs - i * FEW : FEW;
            const float *weight = p->constants + u->weight + ((long)i * FEW * PARTS + (long)k * rows) * u->taps * 3;
            float *out[FEW];
            for (int r = 0; r < rows; r++) out[r] = products + ((i - strip) * FEW + r) * PRODUCTS + k * TILE;
            KERNELS[wide - 1][rows - 1](3L * u->taps, weight, lines + k * apart, p->lined, none, out, 0, ONES, free_);
        }
    for (int o = strip * FEW; o < outputs && o < end * FEW; o++, products += PRODUCTS)
        winograd_rows(p, a, &t, products, p->table[u->output_table + o], p->constants[u->bias + o]);
}
