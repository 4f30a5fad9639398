/* Runs the programs of edgekit/program.py: a few kinds of steps over planes of floats, shared out to a pool of threads.
 *
 * Every step falls into items of some us that any thread may take, so that a thread which is late, or not there at all, costs no more
 * than what the others do in its place; only one that loses its core in the middle of an item is waited for. One source for AVX-512,
 * AVX2 and NEON; anything else is computed four floats at once.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Floats of a vector; how many vectors of pixels, and how many single pixels beside MANY outputs, have their sums in registers. */
#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define WIDE 6
#define SPAN 12
typedef __m512 vec;
#define LOAD(p) _mm512_loadu_ps(p)
#define STORE(p, v) _mm512_storeu_ps(p, v)
#define ALL(x) _mm512_set1_ps(x)
#define MAX(a, b) _mm512_max_ps(a, b)
#define MIN(a, b) _mm512_min_ps(a, b)
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define LANES 8
#define WIDE 3
#define SPAN 6
typedef __m256 vec;
#define LOAD(p) _mm256_loadu_ps(p)
#define STORE(p, v) _mm256_storeu_ps(p, v)
#define ALL(x) _mm256_set1_ps(x)
#define MAX(a, b) _mm256_max_ps(a, b)
#define MIN(a, b) _mm256_min_ps(a, b)
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#define LANES 4
#define WIDE 6
#define SPAN 6
typedef float32x4_t vec;
#define LOAD(p) vld1q_f32(p)
#define STORE(p, v) vst1q_f32(p, v)
#define ALL(x) vdupq_n_f32(x)
#define MAX(a, b) vmaxq_f32(a, b)
#define MIN(a, b) vminq_f32(a, b)
#else
#define LANES 4
#define WIDE 3
#define SPAN 2
typedef float vec __attribute__((vector_size(16)));
static inline vec LOAD(const float *p) { vec v; memcpy(&v, p, sizeof v); return v; }
static inline void STORE(float *p, vec v) { memcpy(p, &v, sizeof v); }
static inline vec ALL(float x) { return (vec){x, x, x, x}; }
static inline vec MAX(vec a, vec b) { for (int i = 0; i < 4; i++) if (!(a[i] > b[i])) a[i] = b[i]; return a; }
static inline vec MIN(vec a, vec b) { for (int i = 0; i < 4; i++) if (!(a[i] < b[i])) a[i] = b[i]; return a; }
#endif
#define TILE (WIDE * LANES)
/* Outputs whose weights are held together, of edgekit/program.py: with few of them a vector is of pixels, with many of outputs. */
#define FEW 4
#define MANY 16
_Static_assert(TILE >= (SPAN + LANES - 1) / LANES * LANES, "packed taps lie TILE apart");

/* The order of STEPS in edgekit/program.py, and of each step's arguments. */
enum { IMPORT, PHASES, CONV, POOL, MEAN, LINEAR, COPY, EXPORT };

typedef struct {
    int input, channels, height, width, stride, rows, columns, pitch, planes;
} import_step;

typedef struct {
    int sources, channels, height, width, source_pitch, stride, rows, columns, pitch, planes;
} phases_step;

typedef struct {
    int length, units, unit_table, mask, limits, together;
} conv_step;

typedef struct {
    int kind, counts, kernel, stride, padding, height, width, source_pitch, rows, columns, pitch, channels, sources, planes;
    int scale, shift, floor;
} pool_step;

typedef struct {
    int length, count, mask, channels, sources, to, scale, shift, floor;
} mean_step;

typedef struct {
    int outputs, taps, source, to, weight, bias, limits;
} linear_step;

typedef struct {
    int count, source, to;
} copy_step;

typedef struct {
    int output, channels, height, width, pitch, planes;
} export_step;

/* UNIT of edgekit/program.py */
typedef struct {
    int outputs, taps, output_table, tap_table, weight, bias, scale, shift, floor;
} unit;

typedef struct {
    int code, words; /* with these two */
    int argument[];
} step;

typedef struct {
    const step *what;
    int items, tiles, parts; /* tiles and parts of a convolution, see conv_item */
    _Atomic uint64_t taken;  /* the run's number << 32 | how many items were taken */
    _Atomic int done;
} work_step;

typedef struct {
    const int *table;
    const float *constants;
    float *arena;
    int steps;
    work_step *step;
    int *packed; /* where the taps of a packed unit lie */
} program;

typedef struct {
    int threads, spins;
    pthread_t *thread;
    _Atomic int run; /* the number of the last run: what sleeping threads wait for */
    _Atomic int sleeping, stop;
    _Atomic int crowded; /* for how many runs threads hardly spin, since others wanted their cores */
    program *_Atomic running;
    const float *const *inputs;
    float *const *outputs;
    float **scratch; /* a thread */
    size_t scratch_size;
} machine;

typedef struct {
    machine *machine;
    int number;
} worker;

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

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* What a step does to each element it reads, where it does anything. */
typedef struct {
    float scale, shift, floor;
} before;

static before before_of(const program *p, int scale, int shift, int floor, int channel) {
    if (scale < 0) return (before){1, 0, -__builtin_inff()};
    return (before){p->constants[scale + channel], p->constants[shift + channel], p->constants[floor + channel]};
}

/* One row of every column phase (column % stride) of a picture, out of a row of it or of zeros where it has none. */
static void split_row(const float *restrict from, int width, int stride, float *arena, const int *planes, long at, int columns) {
    if (!from) {
        for (int c = 0; c < stride; c++) memset(arena + planes[c] + at, 0, columns * sizeof *arena);
        return;
    }
    int whole = width / stride < columns ? width / stride : columns;
    if (stride == 1)
        memcpy(arena + planes[0] + at, from, whole * sizeof *arena);
    else if (stride == 2) {
        float *restrict even = arena + planes[0] + at, *restrict odd = arena + planes[1] + at;
        for (int q = 0; q < whole; q++) even[q] = from[2 * q], odd[q] = from[2 * q + 1];
    } else
        for (int c = 0; c < stride; c++)
            for (int q = 0; q < whole; q++) arena[planes[c] + at + q] = from[(long)q * stride + c];
    for (int q = whole; q < columns; q++)
        for (int c = 0; c < stride; c++) {
            long x = (long)q * stride + c;
            arena[planes[c] + at + q] = x < width ? from[x] : 0;
        }
}

/* An item is a channel's rows of one phase (row % stride). */
static void split(const float *from, int height, int width, int from_pitch, int stride, float *arena, const int *planes, int item,
                  int rows, int columns, int pitch) {
    for (int r = 0, y = item % stride; r < rows; r++, y += stride)
        split_row(y < height ? from + (long)y * from_pitch : 0, width, stride, arena, planes + item * stride, (long)r * pitch,
                  columns);
}

static void import_item(const machine *m, const program *p, const import_step *a, int item) {
    const float *from = m->inputs[a->input] + (long)(item / a->stride) * a->height * a->width;
    split(from, a->height, a->width, a->width, a->stride, p->arena, p->table + a->planes, item, a->rows, a->columns, a->pitch);
}

static void phases_item(const program *p, const phases_step *a, int item) {
    const float *from = p->arena + p->table[a->sources + item / a->stride];
    split(from, a->height, a->width, a->source_pitch, a->stride, p->arena, p->table + a->planes, item, a->rows, a->columns,
          a->pitch);
}

static int divided(int count, int by) { return (count + by - 1) / by; }

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

/* A row of the window's height reduced to one, then along it. */
static void pool_item(const machine *m, const program *p, const pool_step *a, int channel, int who) {
    const float *from = p->arena + p->table[a->sources + channel];
    float *to = p->arena + p->table[a->planes + channel];
    before b = before_of(p, a->scale, a->shift, a->floor, channel);
    float *line = m->scratch[who] + a->padding, none = a->kind ? -__builtin_inff() : 0;
    for (int c = -a->padding; c < a->width + a->padding; c++) line[c] = none;
    for (int r = 0; r < a->rows; r++, to += a->pitch) {
        int top = r * a->stride - a->padding, bottom = top + a->kernel;
        int y = top < 0 ? 0 : top, last = bottom > a->height ? a->height : bottom, high = last - y;
        for (int c = 0; c < a->width; c++) line[c] = none;
        for (; y < last; y++) {
            const float *x = from + (long)y * a->source_pitch;
            for (int c = 0; c < a->width; c++) {
                float now = x[c] * b.scale + b.shift;
                now = now > b.floor ? now : b.floor;
                line[c] = !a->kind ? line[c] + now : now > line[c] ? now : line[c];
            }
        }
        if (a->kernel == 2 && a->stride == 2 && !a->kind && !a->padding) {
            for (int q = 0; q < a->columns; q++) to[q] = (line[2 * q] + line[2 * q + 1]) * 0.25f;
            continue;
        }
        for (int q = 0; q < a->columns; q++) {
            int left = q * a->stride - a->padding, right = left + a->kernel;
            float found = none;
            for (int c = left; c < right && c < a->width + a->padding; c++)
                found = !a->kind ? found + line[c] : line[c] > found ? line[c] : found;
            int across = (right > a->width ? a->width : right) - (left < 0 ? 0 : left);
            to[q] = a->kind ? found : found / (a->counts ? a->kernel * a->kernel : high * across);
        }
    }
}

static void mean_item(const program *p, const mean_step *a, int channel) {
    const float *from = p->arena + p->table[a->sources + channel], *mask = p->constants + a->mask;
    before b = before_of(p, a->scale, a->shift, a->floor, channel);
    vec times = ALL(b.scale), plus = ALL(b.shift), least = ALL(b.floor), sum = ALL(0);
    for (int at = 0; at < a->length; at += LANES)
        sum += MAX(LOAD(from + at) * times + plus, least) * LOAD(mask + at);
    float lanes[LANES], total = 0;
    STORE(lanes, sum);
    for (int l = 0; l < LANES; l++) total += lanes[l];
    p->arena[a->to + channel] = total / a->count;
}

#define SOME 16 /* channels or outputs whose work is little: as many are one item */

static void linear_item(const program *p, const linear_step *a, int first, int last) {
    const float *x = p->arena + a->source, *limits = p->constants + a->limits;
    for (int o = first; o < last; o++) {
        const float *w = p->constants + a->weight + (long)o * a->taps;
        vec sum[4] = {ALL(0), ALL(0), ALL(0), ALL(0)};
        int k = 0;
        for (; k + 4 * LANES <= a->taps; k += 4 * LANES)
            for (int v = 0; v < 4; v++) sum[v] += LOAD(w + k + v * LANES) * LOAD(x + k + v * LANES);
        float lanes[LANES], total = p->constants[a->bias + o];
        STORE(lanes, (sum[0] + sum[1]) + (sum[2] + sum[3]));
        for (int l = 0; l < LANES; l++) total += lanes[l];
        for (; k < a->taps; k++) total += w[k] * x[k];
        total = total < limits[0] ? limits[0] : total;
        p->arena[a->to + o] = total > limits[1] ? limits[1] : total;
    }
}

static void export_item(const machine *m, const program *p, const export_step *a, int channel) {
    const float *from = p->arena + p->table[a->planes + channel];
    float *to = m->outputs[a->output] + (long)channel * a->height * a->width;
    for (int r = 0; r < a->height; r++, from += a->pitch, to += a->width) memcpy(to, from, a->width * sizeof *to);
}

static int last_of(int item, int count) { return (item + 1) * SOME < count ? (item + 1) * SOME : count; }

static void plan(const program *p, work_step *s, int threads) {
    const int *a = s->what->argument;
    int strips = 1;
    switch (s->what->code) {
    case IMPORT: s->items = ((const import_step *)a)->channels * ((const import_step *)a)->stride; break;
    case PHASES: s->items = ((const phases_step *)a)->channels * ((const phases_step *)a)->stride; break;
    case CONV: {
        const conv_step *c = (const conv_step *)a;
        const unit *u = (const unit *)(p->table + c->unit_table);
        for (int i = 0; i < c->units; i++)
            if (divided(u[i].outputs, c->together) > strips) strips = divided(u[i].outputs, c->together);
        s->tiles = divided(c->length, c->together == FEW ? TILE : SPAN);
        s->parts = divided(8 * threads, s->tiles * c->units);
        if (s->parts > strips) s->parts = strips;
        s->items = s->tiles * c->units * s->parts;
        break;
    }
    case POOL: s->items = ((const pool_step *)a)->channels; break;
    case MEAN: s->items = divided(((const mean_step *)a)->channels, SOME); break;
    case LINEAR: s->items = divided(((const linear_step *)a)->outputs, SOME); break;
    case COPY: s->items = 1; break;
    case EXPORT: s->items = ((const export_step *)a)->channels; break;
    }
}

static void run_item(const machine *m, const program *p, const work_step *s, int item, int who) {
    const void *a = s->what->argument;
    switch (s->what->code) {
    case IMPORT: import_item(m, p, a, item); break;
    case PHASES: phases_item(p, a, item); break;
    case CONV: conv_item(m, p, s, a, item, who); break;
    case POOL: pool_item(m, p, a, item, who); break;
    case MEAN: {
        int last = last_of(item, ((const mean_step *)a)->channels);
        for (int channel = item * SOME; channel < last; channel++) mean_item(p, a, channel);
        break;
    }
    case LINEAR: linear_item(p, a, item * SOME, last_of(item, ((const linear_step *)a)->outputs)); break;
    case COPY: {
        const copy_step *c = a;
        memcpy(p->arena + c->to, p->arena + c->source, c->count * sizeof(float));
        break;
    }
    case EXPORT: export_item(m, p, a, item); break;
    }
}

/* For who waits for another thread: busily at first, then asleep, since that one may need this very processor. */
static void rest(const machine *m, int spins) {
    if (spins < (atomic_load(&m->crowded) ? 200 : 4000))
        relax();
    else
        nanosleep(&(struct timespec){0, 20000}, 0);
}

/* Take items of a step until there are none: 0, or 1 when another run has begun or this one is to be cancelled. */
static int take(const machine *m, const program *p, work_step *s, uint32_t run, int who, const volatile int *cancel) {
    for (;;) {
        uint64_t seen = atomic_load(&s->taken);
        uint32_t item = (uint32_t)seen;
        if ((uint32_t)(seen >> 32) != run) return 1;
        if (item >= (uint32_t)s->items) return 0;
        if (cancel && *cancel) return 1;
        if (!atomic_compare_exchange_weak(&s->taken, &seen, seen + 1)) continue;
        run_item(m, p, s, (int)item, who);
        atomic_fetch_add(&s->done, 1);
    }
}

/* Until the others have done what they took. */
static int wait_for(const machine *m, work_step *s, uint32_t run) {
    for (int spins = 0; atomic_load(&s->done) < s->items; spins++) {
        if ((uint32_t)(atomic_load(&s->taken) >> 32) != run) return 1;
        rest(m, spins);
    }
    return 0;
}

/* Nobody takes more of a run from this step on; wait for what was taken, of later steps too: others may have come further. */
static void abandon(const machine *m, program *p, int from) {
    for (work_step *s = p->step + from; s < p->step + p->steps; s++) {
        int taken = (int)(uint32_t)atomic_exchange(&s->taken, 0);
        for (int spins = 0; atomic_load(&s->done) < taken; spins++) rest(m, spins);
    }
}

static int work(const machine *m, program *p, uint32_t run, int who, const volatile int *cancel) {
    for (int s = 0; s < p->steps; s++)
        if (take(m, p, &p->step[s], run, who, cancel) || wait_for(m, &p->step[s], run)) {
            if (cancel) abandon(m, p, s);
            return 1;
        }
    return 0;
}

/* Note whether the calling thread had to leave its core since `before` was counted. Who spins there will have to leave it again, at
 * worst while others wait for the item that it has taken; who sleeps is let in sooner. */
static void look_around(machine *m, long *before) {
    struct rusage now;
    int crowded = atomic_load(&m->crowded);
    if (getrusage(RUSAGE_THREAD, &now)) return;
    if (now.ru_nivcsw != *before)
        atomic_store(&m->crowded, 200);
    else if (crowded)
        atomic_compare_exchange_strong(&m->crowded, &crowded, crowded - 1);
    *before = now.ru_nivcsw;
}

static void *serve(void *given) {
    worker self = *(worker *)given;
    machine *m = self.machine;
    long left = 0;
    free(given);
    prctl(PR_SET_TIMERSLACK, 1000); /* ns: so short a sleep is to be short */
    for (int seen = 0; !atomic_load(&m->stop);) {
        int run = atomic_load(&m->run);
        if (run != seen) {
            seen = run;
            program *p = atomic_load(&m->running);
            if (p) work(m, p, (uint32_t)run, self.number, 0);
            look_around(m, &left);
            continue;
        }
        for (int spins = atomic_load(&m->crowded) ? 0 : m->spins; spins > 0 && atomic_load(&m->run) == seen; spins--) relax();
        atomic_fetch_add(&m->sleeping, 1);
        if (atomic_load(&m->run) == seen && !atomic_load(&m->stop))
            syscall(SYS_futex, &m->run, FUTEX_WAIT_PRIVATE, seen, 0, 0, 0);
        atomic_fetch_sub(&m->sleeping, 1);
    }
    return 0;
}

static void begin(machine *m, program *p, int run) {
    atomic_store(&m->running, p);
    atomic_store(&m->run, run);
    if (atomic_load(&m->sleeping)) syscall(SYS_futex, &m->run, FUTEX_WAKE_PRIVATE, m->threads, 0, 0, 0);
}

void edgekit_machine_free(machine *m) {
    if (!m) return;
    atomic_store(&m->stop, 1);
    begin(m, 0, atomic_load(&m->run) + 1);
    for (int t = 1; m->thread && t < m->threads; t++) pthread_join(m->thread[t], 0);
    for (int t = 0; m->scratch && t < m->threads; t++) free(m->scratch[t]);
    free(m->thread);
    free(m->scratch);
    free(m);
}

/* Without effect where a sandbox forbids it. */
static void keep_to(pthread_t thread, int core) {
    cpu_set_t one;
    CPU_ZERO(&one);
    if (core >= 0 && core < CPU_SETSIZE) CPU_SET(core, &one);
    pthread_setaffinity_np(thread, sizeof one, &one);
}

/* A pool of `threads` - 1 threads beside the caller's, which spin `spins` times before they sleep and are kept to a core each where
 * these are given, the caller's first; 0 where there is no memory for it. */
machine *edgekit_machine(int threads, int spins, const int *cores) {
    machine *m = calloc(1, sizeof *m);
    if (!m) return 0;
    m->spins = spins;
    m->threads = 1;
    m->thread = calloc(threads, sizeof *m->thread);
    m->scratch = calloc(threads, sizeof *m->scratch);
    for (; m->thread && m->scratch && m->threads < threads; m->threads++) {
        worker *self = malloc(sizeof *self);
        if (!self) break;
        *self = (worker){m, m->threads};
        if (pthread_create(&m->thread[m->threads], 0, serve, self)) {
            free(self);
            break;
        }
        if (cores) keep_to(m->thread[m->threads], cores[m->threads]);
    }
    if (m->thread && m->scratch && m->threads == threads) return m;
    edgekit_machine_free(m);
    return 0;
}

/* After its machine, whose threads may still look at the last run's steps. */
void edgekit_program_free(program *p) {
    if (!p) return;
    free(p->arena);
    free(p->step);
    free(p->packed);
    free(p);
}

static int more_scratch(machine *m, size_t size) {
    if (size <= m->scratch_size) return 1;
    for (int t = 0; t < m->threads; t++) {
        void *more;
        if (posix_memalign(&more, 64, size * sizeof(float))) return 0;
        free(m->scratch[t]);
        m->scratch[t] = more;
    }
    m->scratch_size = size;
    return 1;
}

/* A program of `count` words, whose arrays must live as long; 0 where there is no memory. Between runs only. */
program *edgekit_program(machine *m, const int *words, int count, const int *table, const float *constants, long arena, int packed) {
    program *p = calloc(1, sizeof *p);
    if (!p) return 0;
    p->table = table;
    p->constants = constants;
    size_t scratch = (size_t)packed * TILE;
    for (int at = 0; at < count; at += words[at + 1]) p->steps++;
    p->step = calloc(p->steps + 1, sizeof *p->step);
    p->packed = calloc(packed + 1, sizeof *p->packed);
    if (!p->step || !p->packed || posix_memalign((void **)&p->arena, 64, arena * sizeof(float))) {
        edgekit_program_free(p);
        return 0;
    }
    memset(p->arena, 0, arena * sizeof(float));
    for (int tap = 0; tap < packed; tap++) p->packed[tap] = tap * TILE;
    for (int at = 0, s = 0; at < count; at += words[at + 1], s++) {
        p->step[s].what = (const step *)(words + at);
        plan(p, &p->step[s], m->threads);
        if (words[at] == POOL) {
            const pool_step *a = (const pool_step *)p->step[s].what->argument;
            size_t line = a->width + 2 * a->padding;
            if (line > scratch) scratch = line;
        }
    }
    if (!more_scratch(m, scratch)) {
        edgekit_program_free(p);
        return 0;
    }
    return p;
}

/* One run: 0, or 1 where *cancel became something else than 0. One at a time. */
int edgekit_run(machine *m, program *p, const float *const *inputs, float *const *outputs, const volatile int *cancel) {
    uint32_t run = (uint32_t)atomic_load(&m->run) + 1;
    if (!run) run = 1;
    m->inputs = inputs;
    m->outputs = outputs;
    for (int s = 0; s < p->steps; s++) {
        atomic_store(&p->step[s].done, 0);
        atomic_store(&p->step[s].taken, (uint64_t)run << 32);
    }
    begin(m, p, (int)run);
    return work(m, p, run, 0, cancel);
}
