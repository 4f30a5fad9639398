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

/* MANY outputs times P pixels, one behind the other from `at` on; `outputs` of them are kept. */
#define ACROSS(P)                                                                                                     \
    static void across_##P(long taps, const float *restrict weight, const float *restrict base,                       \
                           const int *restrict offset, const float *restrict bias, float *arena,                      \
                           const int *restrict out, int outputs, long at, const float *mask, const float *limits) {   \
        vec sum[P][MANY / LANES];                                                                                     \
        _Pragma("GCC unroll 12") for (int p = 0; p < P; p++)                                                          \
            _Pragma("GCC unroll 4") for (int v = 0; v < MANY / LANES; v++) sum[p][v] = LOAD(bias + v * LANES);        \
        for (long tap = 0; tap < taps; tap++, weight += MANY) {                                                       \
            const float *from = base + offset[tap];                                                                   \
            vec w[MANY / LANES];                                                                                      \
            _Pragma("GCC unroll 4") for (int v = 0; v < MANY / LANES; v++) w[v] = LOAD(weight + v * LANES);           \
            _Pragma("GCC unroll 12") for (int p = 0; p < P; p++)                                                      \
                _Pragma("GCC unroll 4") for (int v = 0; v < MANY / LANES; v++) sum[p][v] += w[v] * ALL(from[p]);      \
        }                                                                                                             \
        vec low = ALL(limits[0]), high = ALL(limits[1]);                                                              \
        float found[P][MANY];                                                                                         \
        _Pragma("GCC unroll 12") for (int p = 0; p < P; p++)                                                          \
            _Pragma("GCC unroll 4") for (int v = 0; v < MANY / LANES; v++)                                            \
                STORE(found[p] + v * LANES, MIN(MAX(sum[p][v], low), high) * ALL(mask[at + p]));                      \
        for (int o = 0; o < outputs; o++)                                                                             \
            for (int p = 0; p < P; p++) arena[out[o] + at + p] = found[p][o];                                         \
    }

typedef void (*across)(long, const float *, const float *, const int *, const float *, float *, const int *, int, long,
                       const float *, const float *);

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

ACROSS(1)
ACROSS(2)
#if SPAN > 2
ACROSS(3)
ACROSS(4)
ACROSS(5)
ACROSS(6)
#endif
#if SPAN > 6
ACROSS(7)
ACROSS(8)
ACROSS(9)
ACROSS(10)
ACROSS(11)
ACROSS(12)
#endif
static const across ACROSSES[SPAN] = {
    across_1,
    across_2,
#if SPAN > 2
    across_3,
    across_4,
    across_5,
    across_6,
#endif
#if SPAN > 6
    across_7,
    across_8,
    across_9,
    across_10,
    across_11,
    across_12,
#endif
};

/* An item is a unit, a tile of its pixels, and where these are few a part of its outputs. */
static void conv_item(const machine *m, const program *p, const work_step *s, const conv_step *a, int item, int who) {
    const unit *u = (const unit *)(p->table + a->unit_table) + item % a->units;
    int tile = item / a->units % s->tiles, part = item / a->units / s->tiles;
    int strips = divided(u->outputs, a->together);
    int strip = (int)((long)strips * part / s->parts), end = (int)((long)strips * (part + 1) / s->parts);
    if (strip == end) return;
    int each = a->together == FEW ? LANES : 1, pieces = divided(a->length, each);
    int first = (int)((long)pieces * tile / s->tiles), wide = (int)((long)pieces * (tile + 1) / s->tiles) - first;
    long at = (long)first * each;
    const int *offset = p->table + u->tap_table;
    const float *base = p->arena + at, *mask = p->constants + a->mask, *limits = p->constants + a->limits;
    if (u->scale >= 0) {
        const float *scale = p->constants + u->scale, *shift = p->constants + u->shift, *low = p->constants + u->floor;
        float *to = m->scratch[who];
        for (int tap = 0; tap < u->taps; tap++, to += TILE) {
            const float *from = base + offset[tap];
            vec times = ALL(scale[tap]), plus = ALL(shift[tap]), least = ALL(low[tap]);
            for (int x = 0; x < wide * each; x += LANES) STORE(to + x, MAX(LOAD(from + x) * times + plus, least));
        }
        base = m->scratch[who];
        offset = p->packed;
    }
    for (; strip < end; strip++) {
        const float *weight = p->constants + u->weight + (long)strip * a->together * u->taps;
        const float *bias = p->constants + u->bias + strip * a->together;
        const int *to = p->table + u->output_table + strip * a->together;
        int rows = u->outputs - strip * a->together;
        if (rows > a->together) rows = a->together;
        if (a->together == MANY) {
            ACROSSES[wide - 1](u->taps, weight, base, offset, bias, p->arena, to, rows, at, mask, limits);
            continue;
        }
        float *out[FEW];
        for (int r = 0; r < rows; r++) out[r] = p->arena + to[r];
        KERNELS[wide - 1][rows - 1](u->taps, weight, base, offset, bias, out, at, mask, limits);
    }
}

