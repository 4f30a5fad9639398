/* Convolutions: sums over planes that a table names. */

/* R outputs times V vectors of pixels: out[r] = limit(bias[r] + sum of weight[tap][r] * (base + offset[tap])), zero off the mask. */
#define KERNEL(R, V)                                                                                                  \
    static void kernel_##R##_##V(long taps, const float *restrict weight, const float *restrict base,                 \
                                 const int *restrict offset, const float *restrict bias, float *const *out, long at,  \
                                 const float *mask, const float *limits) {                                            \
        vec sum[R][V];                                                                                                \
        _Pragma("GCC unroll 4") for (int r = 0; r < R; r++)                                                           \
            _Pragma("GCC unroll 6") for (int v = 0; v < V; v++) sum[r][v] = ALL(bias[r]);                             \
        for (long tap = 0; tap < taps; tap++, weight += R) {                                                          \
            const float *from = base + offset[tap];                                                                   \
            vec x[V];                                                                                                 \
            _Pragma("GCC unroll 6") for (int v = 0; v < V; v++) x[v] = LOAD(from + v * LANES);                        \
            _Pragma("GCC unroll 4") for (int r = 0; r < R; r++) {                                                     \
                vec w = ALL(weight[r]);                                                                               \
                _Pragma("GCC unroll 6") for (int v = 0; v < V; v++) sum[r][v] += w * x[v];                            \
            }                                                                                                         \
        }                                                                                                             \
        vec low = ALL(limits[0]), high = ALL(limits[1]);                                                              \
        _Pragma("GCC unroll 4") for (int r = 0; r < R; r++)                                                           \
            _Pragma("GCC unroll 6") for (int v = 0; v < V; v++)                                                       \
                STORE(out[r] + at + v * LANES, MIN(MAX(sum[r][v], low), high) * LOAD(mask + at + v * LANES));         \
    }

#if TWICE
/* The same for twice FEW outputs, the weights of the second FEW behind those of the first: what is read serves twice as many. */
#define KERNEL_TWICE(V)                                                                                               \
    static void kernel_twice_##V(long taps, const float *restrict weight, const float *restrict base,                 \
                                 const int *restrict offset, const float *restrict bias, float *const *out, long at,  \
                                 const float *mask, const float *limits) {                                            \
        vec sum[2 * FEW][V];                                                                                          \
        _Pragma("GCC unroll 8") for (int r = 0; r < 2 * FEW; r++)                                                     \
            _Pragma("GCC unroll 3") for (int v = 0; v < V; v++) sum[r][v] = ALL(bias[r]);                             \
        for (long tap = 0; tap < taps; tap++, weight += FEW) {                                                        \
            const float *from = base + offset[tap];                                                                   \
            vec x[V];                                                                                                 \
            _Pragma("GCC unroll 3") for (int v = 0; v < V; v++) {                                                     \
                x[v] = LOAD(from + v * LANES);                                                                        \
                KEEP(x[v]);                                                                                           \
            }                                                                                                         \
            _Pragma("GCC unroll 8") for (int r = 0; r < 2 * FEW; r++) {                                               \
                vec w = ALL(weight[r / FEW * FEW * taps + r % FEW]);                                                  \
                _Pragma("GCC unroll 3") for (int v = 0; v < V; v++) sum[r][v] += w * x[v];                            \
            }                                                                                                         \
        }                                                                                                             \
        vec low = ALL(limits[0]), high = ALL(limits[1]);                                                              \
        _Pragma("GCC unroll 8") for (int r = 0; r < 2 * FEW; r++)                                                     \
            _Pragma("GCC unroll 3") for (int v = 0; v < V; v++)                                                       \
                STORE(out[r] + at + v * LANES, MIN(MAX(sum[r][v], low), high) * LOAD(mask + at + v * LANES));         \
    }
#endif

/* How many bytes of weights ahead one is brought into the cache: a page, at whose end the processor's own prefetching stops. */
#define AHEAD 4096
/* S strips of MANY outputs, the weights of the second `strip` behind the first's, times N stretches of H pixels D apart, the second `jump` behind the first: sums from `base` on, pixel by
 * pixel. Weights are floats where K is whole, and whole numbers of two bytes where it is half. */
#define ACROSS(K, D, S, N, H)                                                                                          \
    static void across_##K##_##D##_##S##_##N##_##H(long taps, const void *restrict weight, long strip,                    \
                                                   const float *restrict base, long jump,                             \
                                                   const int *restrict offset, const float *restrict bias, \
                                                   const float *limits, float *restrict found) {                      \
        enum { V = S * MANY / LANES, EACH = MANY / LANES };                                                           \
        vec sum[N * H][V];                                                                                            \
        _Pragma("GCC unroll 14") for (int p = 0; p < N * H; p++)                                                      \
            _Pragma("GCC unroll 4") for (int v = 0; v < V; v++) sum[p][v] = LOAD(bias + v * LANES);                   \
        const K *here = weight;                                                                                       \
        for (long tap = 0; tap < taps; tap++, here += MANY) {                                                         \
            const float *from = base + offset[tap];                                                                   \
            vec w[V];                                                                                                 \
            _Pragma("GCC unroll 2") for (int s = 0; s < S; s++)                                                       \
                __builtin_prefetch((const char *)(here + s * strip) + AHEAD);                                         \
            _Pragma("GCC unroll 4") for (int v = 0; v < V; v++)                                                       \
                w[v] = LOAD_##K(here + v / EACH * strip + v % EACH * LANES);                                          \
            _Pragma("GCC unroll 14") for (int p = 0; p < N * H; p++) {                                                \
                vec x = ALL(from[p / H * jump + p % H * D]);                                                          \
                _Pragma("GCC unroll 4") for (int v = 0; v < V; v++) sum[p][v] += w[v] * x;                            \
            }                                                                                                         \
        }                                                                                                             \
        vec low = ALL(limits[0]), high = ALL(limits[1]);                                                              \
        _Pragma("GCC unroll 14") for (int p = 0; p < N * H; p++)                                                      \
            _Pragma("GCC unroll 4") for (int v = 0; v < V; v++)                                                       \
                STORE(found + (p * V + v) * LANES, MIN(MAX(sum[p][v], low), high));                                   \
    }

typedef void (*across)(long, const void *, long, const float *, long, const int *, const float *, const float *, float *);

typedef void (*kernel)(long, const float *, const float *, const int *, const float *, float *const *, long, const float *,
                       const float *);

#define KERNELS_OF(V) KERNEL(1, V) KERNEL(2, V) KERNEL(3, V) KERNEL(4, V)
#define NAMES_OF(V) {kernel_1_##V, kernel_2_##V, kernel_3_##V, kernel_4_##V}
KERNELS_OF(1)
KERNELS_OF(2)
#if WIDE > 2
KERNELS_OF(3)
#endif
#if WIDE > 3
KERNELS_OF(4)
KERNELS_OF(5)
KERNELS_OF(6)
#endif
static const kernel KERNELS[WIDE][FEW] = {
    NAMES_OF(1),
    NAMES_OF(2),
#if WIDE > 2
    NAMES_OF(3),
#endif
#if WIDE > 3
    NAMES_OF(4),
    NAMES_OF(5),
    NAMES_OF(6),
#endif
};

#if TWICE
KERNEL_TWICE(1)
KERNEL_TWICE(2)
KERNEL_TWICE(3)
static const kernel TWICES[TWICE] = {kernel_twice_1, kernel_twice_2, kernel_twice_3};
#endif

#define ACROSS_OF(K, D, S, N) ACROSS(K, D, S, N, 1) ACROSSES_TO(K, D, S, N)
#define NAMES_ACROSS(K, D, S, N) {across_##K##_##D##_##S##_##N##_1, NAMES_TO(across_##K##_##D##_##S##_##N)}
#if STRETCH == 7
#define ACROSSES_TO(K, D, S, N)                                                                                       \
    ACROSS(K, D, S, N, 2) ACROSS(K, D, S, N, 3) ACROSS(K, D, S, N, 4) ACROSS(K, D, S, N, 5) ACROSS(K, D, S, N, 6)     \
    ACROSS(K, D, S, N, 7)
#define NAMES_TO(across) across##_2, across##_3, across##_4, across##_5, across##_6, across##_7
#elif STRETCH == 3
#define ACROSSES_TO(K, D, S, N) ACROSS(K, D, S, N, 2) ACROSS(K, D, S, N, 3)
#define NAMES_TO(across) across##_2, across##_3
#else
#define ACROSSES_TO(K, D, S, N)
#define NAMES_TO(across)
#endif
#define STRIPS_OF(K, D, S) ACROSS_OF(K, D, S, 1) ACROSS_OF(K, D, S, 2)
#define NAMES_OF_STRIPS(K, D, S) {NAMES_ACROSS(K, D, S, 1), NAMES_ACROSS(K, D, S, 2)}
#if STRIPS > 1
#define DISTANCES_OF(K, D) STRIPS_OF(K, D, 1) STRIPS_OF(K, D, 2)
#define NAMES_OF_DISTANCES(K, D) {NAMES_OF_STRIPS(K, D, 1), NAMES_OF_STRIPS(K, D, 2)}
#else
#define DISTANCES_OF(K, D) STRIPS_OF(K, D, 1)
#define NAMES_OF_DISTANCES(K, D) {NAMES_OF_STRIPS(K, D, 1)}
#endif
DISTANCES_OF(whole, 1)
DISTANCES_OF(whole, 2)
DISTANCES_OF(half, 1)
DISTANCES_OF(half, 2)
static const across ACROSSES[2][2][STRIPS][2][STRETCH] = {
    {NAMES_OF_DISTANCES(whole, 1), NAMES_OF_DISTANCES(whole, 2)},
    {NAMES_OF_DISTANCES(half, 1), NAMES_OF_DISTANCES(half, 2)},
};

/* Tiles as they are found: stretches of pixels, of which those of a length are paired. Only counted where `to` is 0. */
typedef struct {
    stretch *to;
    int count, waiting[STRETCH + 1]; /* the tile of a length that is still alone, or -1 */
} tiling;

static tiling tiles_into(stretch *to) {
    tiling t = {to, 0, {0}};
    for (int h = 0; h <= STRETCH; h++) t.waiting[h] = -1;
    return t;
}

/* `count` pixels that lie side by side from `at` on, and that read from `from` on, `stride` apart. */
static void add_pixels(tiling *t, int count, int at, int from, int stride) {
    for (int pieces = divided(count, STRETCH), piece = 0; piece < pieces; piece++) {
        int first = (int)((long)count * piece / pieces), wide = (int)((long)count * (piece + 1) / pieces) - first;
        int *waiting = &t->waiting[wide];
        if (*waiting < 0) {
            if (t->to) t->to[t->count] = (stretch){at + first, 0, from + first * stride, 0, wide, 1};
            *waiting = t->count++;
            continue;
        }
        if (t->to) {
            stretch *pair = t->to + *waiting;
            pair->jump = at + first - pair->at, pair->from_jump = from + first * stride - pair->from, pair->number = 2;
        }
        *waiting = -1;
    }
}

static int tiles_of_mask(const float *mask, int length, stretch *to) {
    tiling t = tiles_into(to);
    for (int end, start = 0; start < length; start = end) {
        while (start < length && mask[start] == 0) start++;
        for (end = start; end < length && mask[end] != 0;) end++;
        add_pixels(&t, end - start, start, start, 1);
    }
    return t.count;
}

static int tiles_of_rows(const strided_step *a, stretch *to) {
    tiling t = tiles_into(to);
    for (int r = 0; r < a->rows; r++) add_pixels(&t, a->columns, r * a->pitch, r * a->stride * a->source_pitch, a->stride);
    return t.count;
}

/* What a unit does to its taps before they are used, of one tile. */
static void pack(const program *p, const unit *u, const float *base, const int *offset, int wide, float *to) {
    const float *scale = p->constants + u->scale, *shift = p->constants + u->shift, *low = p->constants + u->floor;
    for (int tap = 0; tap < u->taps; tap++, to += TILE) {
        const float *from = base + offset[tap];
        vec times = ALL(scale[tap]), plus = ALL(shift[tap]), least = ALL(low[tap]);
        for (int x = 0; x < wide; x += LANES) STORE(to + x, MAX(LOAD(from + x) * times + plus, least));
    }
}

/* Sums of whole numbers' products as what they stand for: `outputs` of every pixel, each with a scale and a bias. */
static void in_floats(float *found, int pixels, int outputs, const float *scale, const float *bias, const float *limits) {
    vec low = ALL(limits[0]), high = ALL(limits[1]);
    for (int p = 0; p < pixels; p++, found += outputs)
        for (int o = 0; o < outputs; o += LANES)
            STORE(found + o, MIN(MAX(LOAD(found + o) * LOAD(scale + o) + LOAD(bias + o), low), high));
}

/* An item is a unit, up to STRIPS strips of its outputs, and some of its tiles, which are stretches of pixels. */
static void across_item(const machine *m, const program *p, const work_step *s, int item, int who) {
    const unit *u = (const unit *)(p->table + s->unit_table) + item % s->units;
    int rest = item / s->units, strip = rest % s->strips * STRIPS, part = rest / s->strips;
    int strips = divided(u->outputs, MANY) - strip, outputs = u->outputs - strip * MANY;
    if (strips <= 0) return;
    if (strips > STRIPS) strips = STRIPS;
    if (outputs > strips * MANY) outputs = strips * MANY;
    int halved = s->what->code == HALVED;
    long first = (long)strip * MANY * u->taps; /* of its weights */
    const float *weight = p->constants + u->weight + (halved ? first / 2 : first), *bias = p->constants + u->bias + strip * MANY;
    const int *offset = p->table + u->tap_table, *out = p->table + u->output_table + strip * MANY;
    const float *limits = p->constants + s->limits, *scale = p->constants + u->scale + strip * MANY;
    static const float none[STRIPS * MANY], free_[2] = {-__builtin_inff(), __builtin_inff()};
    int packs = u->scale >= 0 && !halved;
    float found[2 * STRETCH * STRIPS * MANY];
    int end = (int)((long)s->tiles * (part + 1) / s->parts);
    for (int tile = (int)((long)s->tiles * part / s->parts); tile < end; tile++) {
        const stretch t = s->stretch[tile];
        const float *base = p->arena + t.from, *from = base;
        long jump = t.from_jump;
        if (packs) {
            float *packed = m->scratch[who];
            pack(p, u, base, offset, t.wide, packed);
            if (t.number > 1) pack(p, u, base + jump, offset, t.wide, packed + LANES);
            from = packed, jump = LANES;
        }
        ACROSSES[halved][s->stride - 1][strips - 1][t.number - 1][t.wide - 1](
            u->taps, weight, (long)u->taps * MANY, from, jump, packs ? p->packed : offset, halved ? none : bias, halved ? free_ : limits, found);
        if (halved) in_floats(found, t.number * t.wide, strips * MANY, scale, bias, limits);
        for (int o = 0; o < outputs; o += MANY)
            into_planes(found + o, strips * MANY, smaller(MANY, outputs - o), p->arena, out + o, t.at, t.number, t.wide, t.wide, t.jump);
    }
}

/* An item is a unit, a tile of its pixels, and where these are few a part of its outputs. */
static void conv_item(const machine *m, const program *p, const work_step *s, const conv_step *a, int item, int who) {
    const unit *u = (const unit *)(p->table + a->unit_table) + item % a->units;
    int tile = item / a->units % s->tiles, part = item / a->units / s->tiles;
    int strips = divided(u->outputs, FEW);
    int strip = (int)((long)strips * part / s->parts), end = (int)((long)strips * (part + 1) / s->parts);
    if (strip == end) return;
    int pieces = divided(a->length, LANES), first = (int)((long)pieces * tile / s->tiles);
    int wide = (int)((long)pieces * (tile + 1) / s->tiles) - first;
    long at = (long)first * LANES;
    const int *offset = p->table + u->tap_table;
    const float *base = p->arena + at, *mask = p->constants + a->mask, *limits = p->constants + a->limits;
    if (u->scale >= 0) {
        pack(p, u, base, offset, wide * LANES, m->scratch[who]);
        base = m->scratch[who];
        offset = p->packed;
    }
    while (strip < end) {
        const float *weight = p->constants + u->weight + (long)strip * FEW * u->taps, *bias = p->constants + u->bias + strip * FEW;
        const int *to = p->table + u->output_table + strip * FEW;
        int rows = u->outputs - strip * FEW, twice = TWICE && s->some == 2 && strip + 1 < end && rows >= 2 * FEW;
        if (rows > (twice ? 2 * FEW : FEW)) rows = twice ? 2 * FEW : FEW;
        float *out[2 * FEW];
        for (int r = 0; r < rows; r++) out[r] = p->arena + to[r];
        kernel each = KERNELS[wide - 1][(rows - 1) % FEW];
#if TWICE
        if (twice) each = TWICES[wide - 1];
#endif
        each(u->taps, weight, base, offset, bias, out, at, mask, limits);
        strip += 1 + twice;
    }
}
