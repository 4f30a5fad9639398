/* Convolutions with 3x3 windows by Winograd's F(4x4, 3x3): squares of four by four pixels, of which 36 products a plane and an output
 * are what 144 would be.
 *
 * One step writes the 36 parts of every square of every plane: part by part, plane by plane, square after square. The next multiplies
 * them with weights, vectors of outputs as where pixels are few, and puts squares together. */

#define SIDE 4
#define SQUARE_PARTS (PARTS * PARTS)

typedef struct {
    int along, count; /* squares of a row of them, and of a plane */
    int room;         /* of a plane's squares: whole vectors on every processor */
    long apart;       /* from a part to the next: not a power of two, whose lines would share their places in a cache */
} squares;

static squares squares_of(int height, int width, int channels) {
    squares s;
    s.along = divided(width, SIDE), s.count = s.along * divided(height, SIDE);
    s.room = divided(s.count, MANY) * MANY;
    s.apart = (long)channels * s.room + MANY;
    return s;
}

/* Every fourth number of 4 * `count`, from each of the first four on, `apart` from each other; `count` is a multiple of LANES. */
static inline void quarter(const float *restrict from, int count, float *restrict to, long apart) {
#if defined(__AVX512F__)
    const __m512i fours = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    for (int q = 0; q < count; q += LANES, from += 4 * LANES) {
        vec x[4];
        for (int i = 0; i < 4; i++) x[i] = LOAD(from + i * LANES);
        for (int k = 0; k < 4; k++) {
            __m512i at = _mm512_add_epi32(fours, _mm512_set1_epi32(k));
            vec low = _mm512_permutex2var_ps(x[0], at, x[1]);
            STORE(to + k * apart + q, _mm512_mask_blend_ps(0xff00, low, _mm512_permutex2var_ps(x[2], at, x[3])));
        }
    }
#else
    for (int q = 0; q < count; q++)
        for (int k = 0; k < 4; k++) to[k * apart + q] = from[4 * q + k];
#endif
}

static size_t squares_scratch(const squares_step *a) {
    squares s = squares_of(a->height, a->width, a->channels);
    return PARTS * ((size_t)SIDE * s.room + LANES) + PARTS * (size_t)s.room + PARTS * SIDE * ((size_t)s.room + LANES);
}

/* The parts of six rows from `top` on, of `some` columns of a plane from column c on, which may be the zero before a row. */
static inline void square_rows(const squares_step *a, const float *plane, int top, int c, int some, vec *part) {
    vec six[PARTS];
    if (a->width - c < some) some = a->width - c;
    for (int j = 0; j < PARTS; j++) {
        const float *row = plane + (long)(top + j) * a->pitch + c;
        int inside = top + j >= 0 && top + j < a->height && some > 0;
        six[j] = !inside ? ALL(0) : some < LANES ? LOAD_SOME(row, some) : LOAD(row);
    }
    combine_before(six, part);
}

/* A plane's lines: all rows of squares, from the column before the first on; and of every row's last square the fifth column. */
static void square_lines(const squares_step *a, const squares *s, const float *plane, float *lines, long apart, float *last) {
    int line = SIDE * s->along;
    vec part[PARTS];
    for (int g = 0; g * s->along < s->count; g++) {
        for (int c = 0; c < line; c += LANES) {
            square_rows(a, plane, SIDE * g - 1, c - 1, LANES, part);
            for (int k = 0; k < PARTS; k++) STORE(lines + k * apart + g * line + c, part[k]);
        }
        if (a->width < line) continue;
        square_rows(a, plane, SIDE * g - 1, line - 1, 1, part);
        for (int k = 0; k < PARTS; k++) STORE_SOME(last + k * s->room + (g + 1) * s->along - 1, part[k], 1);
    }
}

/* All bits, but none in the last square of a row, beside which there is none. */
static int plan_squares(work_step *s, const squares_step *a) {
    squares q = squares_of(a->height, a->width, a->channels);
    s->numbers = malloc(q.room * sizeof *s->numbers);
    for (int i = 0; s->numbers && i < q.room; i++) s->numbers[i] = i % q.along == q.along - 1 || i >= q.count ? 0 : -1;
    return s->numbers != 0;
}

/* An item is a plane. */
static void squares_item(const machine *m, const program *p, const work_step *w, const squares_step *a, int channel, int who) {
    squares s = squares_of(a->height, a->width, a->channels);
    long apart = (long)SIDE * s.room + LANES, fourth = s.room + LANES;
    float *lines = m->scratch[who], *last = lines + PARTS * apart, *fourths = last + PARTS * s.room;
    memset(last, 0, PARTS * s.room * sizeof(float));
    square_lines(a, &s, p->arena + p->table[a->sources + channel], lines, apart, last);
    for (int k = 0; k < PARTS; k++) quarter(lines + k * apart, s.room, fourths + k * SIDE * fourth, fourth);
    float *to = p->arena + a->to + (long)channel * s.room;
    for (int k = 0; k < PARTS; k++, to += PARTS * s.apart, fourths += SIDE * fourth)
        for (int q = 0; q < s.room; q += LANES) {
            vec six[PARTS], part[PARTS];
            ivec inner = LOAD_INTS(w->numbers + q);
            for (int x = 0; x < SIDE; x++) six[x] = LOAD(fourths + x * fourth + q);
            for (int x = 0; x < 2; x++) six[SIDE + x] = (vec)((ivec)LOAD(fourths + x * fourth + q + 1) & inner);
            six[SIDE] += LOAD(last + k * s.room + q);
            combine_before(six, part);
            for (int x = 0; x < PARTS; x++) STORE(to + x * s.apart + q, part[x]);
        }
}

static int square_strips(const squared_step *a) { return divided(divided(a->outputs, MANY), STRIPS); }

/* Two rows of squares, as long as the kernels have them, and how many times that. */
static int square_blocks(const squares *s) { return divided(divided(s->count, 2), STRETCH); }

static int plan_squared(work_step *s, const squared_step *a, int threads) {
    squares q = squares_of(a->height, a->width, a->channels);
    int strips = square_strips(a);
    s->strips = strips;
    s->tiles = square_blocks(&q);
    s->parts = smaller(divided(threads, strips), s->tiles);
    s->items = strips * s->parts;
    s->numbers = malloc(a->channels * sizeof *s->numbers);
    for (int c = 0; s->numbers && c < a->channels; c++) s->numbers[c] = c * q.room;
    return s->numbers != 0;
}

static size_t squared_scratch(const squared_step *a) {
    squares s = squares_of(a->height, a->width, a->channels);
    return ((size_t)SQUARE_PARTS * square_blocks(&s) * 2 * STRETCH + SIDE * SIDE) * STRIPS * MANY;
}

/* What MANY outputs are in a square, pixel by pixel, of products `apart` from part to part. */
static void square_of(const float *products, long apart, const float *bias, const float *limits, float *pixels) {
    for (int v = 0; v < MANY; v += LANES) {
        vec half[PARTS][SIDE], row[SIDE], part[PARTS], more = LOAD(bias + v), low = ALL(limits[0]), high = ALL(limits[1]);
        for (int x = 0; x < PARTS; x++) {
            for (int k = 0; k < PARTS; k++) part[k] = LOAD(products + (k * PARTS + x) * apart + v);
            combine_after(part, half[x]);
        }
        for (int y = 0; y < SIDE; y++) {
            for (int x = 0; x < PARTS; x++) part[x] = half[x][y];
            combine_after(part, row);
            for (int x = 0; x < SIDE; x++) STORE(pixels + (y * SIDE + x) * MANY + v, MIN(MAX(row[x] + more, low), high));
        }
    }
}

/* An item is STRIPS strips of outputs and some blocks of squares. */
static void squared_item(const machine *m, const program *p, const work_step *s, const squared_step *a, int item, int who) {
    squares q = squares_of(a->height, a->width, a->channels);
    int strips = divided(a->outputs, MANY), strip = item % s->strips * STRIPS, part = item / s->strips;
    int some = smaller(STRIPS, strips - strip), pairs = divided(q.count, 2);
    int block = (int)((long)s->tiles * part / s->parts), end = (int)((long)s->tiles * (part + 1) / s->parts);
    int first = 2 * (int)((long)pairs * block / s->tiles), last = 2 * (int)((long)pairs * end / s->tiles);
    long apart = (long)(last - first) * some * MANY;
    float *products = m->scratch[who], *pixels = products + SQUARE_PARTS * apart;
    static const float none[STRIPS * MANY], free_[2] = {-__builtin_inff(), __builtin_inff()};
    long of_part = (long)a->channels * MANY, of_strip = SQUARE_PARTS * of_part;
    const float *weight = p->constants + a->weight + strip * of_strip;
    for (int k = 0; k < SQUARE_PARTS; k++, weight += of_part)
        for (int b = block; b < end; b++) {
            int from = (int)((long)pairs * b / s->tiles), wide = (int)((long)pairs * (b + 1) / s->tiles) - from;
            ACROSSES[0][0][some - 1][1][wide - 1](a->channels, weight, of_strip, p->arena + a->source + k * q.apart + 2 * from, wide, s->numbers, none,
                                               free_, products + k * apart + (2 * from - first) * some * MANY);
        }
    for (int square = first; square < last && square < q.count; square++)
        for (int o = strip * MANY; o < (strip + some) * MANY; o += MANY) {
            int y = square / q.along * SIDE, x = square % q.along * SIDE;
            int rows = smaller(SIDE, a->height - y), columns = smaller(SIDE, a->width - x), outputs = smaller(MANY, a->outputs - o);
            square_of(products + ((long)(square - first) * some + o / MANY - strip) * MANY, apart, p->constants + a->bias + o,
                      p->constants + a->limits, pixels);
            into_planes(pixels, MANY, outputs, p->arena, p->table + a->planes + o, (long)y * a->pitch + x, rows, SIDE, columns, a->pitch);
        }
}
