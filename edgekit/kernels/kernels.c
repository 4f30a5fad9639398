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

#include "vectors.h"
#include "program.h"
#include "convolutions.h"
#include "maps.h"
#include "stereo.h"
#include "winograd.h"
#include "squares.h"

/* Taps of a tile that the nearest cache does not hold: then each is read from the next one for all outputs. */
#define DEEP 150
#define SOME_PRODUCTS 800000 /* some us */

/* How many strips of `each` outputs the largest unit has. */
static int most_strips(const program *p, int units, int unit_table, int each) {
    const unit *u = (const unit *)(p->table + unit_table);
    int most = 1;
    for (int i = 0; i < units; i++)
        if (divided(u[i].outputs, each) > most) most = divided(u[i].outputs, each);
    return most;
}

static int most_taps(const program *p, int units, int unit_table) {
    const unit *u = (const unit *)(p->table + unit_table);
    int most = 0;
    for (int i = 0; i < units; i++)
        if (u[i].taps > most) most = u[i].taps;
    return most;
}

/* How many items of a convolution are taken at once: those of little work one by one would wait for each other's counting. */
static int together_of(const program *p, const work_step *s, const conv_step *a, int threads) {
    const unit *u = (const unit *)(p->table + a->unit_table);
    long products = 0;
    for (int i = 0; i < a->units; i++) products += ((long)u[i].outputs + 1) * (u[i].taps + 4) * a->length;
    long most = s->items / (4 * threads), enough = SOME_PRODUCTS / (products / s->items + 1);
    return (int)(enough < 1 || most < 1 ? 1 : enough < most ? enough : most);
}

/* Tiles of the step's pixels; 0 where there is no memory. */
static int plan_tiles(const program *p, work_step *s) {
    const void *a = s->what->argument;
    for (int filled = 0; filled < 2; filled++) {
        if (s->what->code != CONV)
            s->tiles = tiles_of_rows(a, s->stretch);
        else
            s->tiles = tiles_of_mask(p->constants + ((const conv_step *)a)->mask, ((const conv_step *)a)->length, s->stretch);
        if (!s->stretch && !(s->stretch = calloc(s->tiles + 1, sizeof *s->stretch))) return 0;
    }
    return 1;
}

static int plan_across(const program *p, work_step *s, int units, int unit_table, int limits, int stride, int threads) {
    s->units = units, s->unit_table = unit_table, s->limits = limits, s->stride = stride;
    if (!plan_tiles(p, s)) return 0;
    s->strips = most_strips(p, units, unit_table, STRIPS * MANY);
    s->parts = s->strips * units >= 3 * threads && s->tiles < 4 ? 1 : divided(8 * threads, s->strips * units);
    if (s->parts > s->tiles) s->parts = s->tiles;
    s->items = s->strips * units * s->parts;
    return 1;
}

static void plan_along(const program *p, work_step *s, const conv_step *c, int threads) {
    int strips = most_strips(p, c->units, c->unit_table, FEW);
    s->some = TWICE && strips > 1 && most_taps(p, c->units, c->unit_table) > DEEP ? 2 : 1;
    s->tiles = divided(c->length, TILE / s->some);
    s->parts = divided(8 * threads, s->tiles * c->units);
    if (s->parts > strips) s->parts = strips;
    s->items = s->tiles * c->units * s->parts;
    s->together = together_of(p, s, c, threads);
}

/* How many items of so many channels, each with `each` floats, so that one is worth its taking. */
static int bundled(work_step *s, int count, long each) {
    s->some = each < 4096 ? (int)(4096 / (each + 1)) + 1 : 1;
    return s->items = divided(count, s->some);
}

/* 0 where there is no memory. */
static int plan(const program *p, work_step *s, int threads) {
    const int *a = s->what->argument;
    s->some = s->together = 1;
    switch (s->what->code) {
    case IMPORT: {
        const import_step *i = (const import_step *)a;
        bundled(s, i->channels * i->stride, (long)i->rows * i->columns * i->stride);
        break;
    }
    case PHASES: {
        const phases_step *i = (const phases_step *)a;
        bundled(s, i->channels * i->stride, (long)i->rows * i->columns * i->stride);
        break;
    }
    case CONV: {
        const conv_step *c = (const conv_step *)a;
        if (c->together == MANY) return plan_across(p, s, c->units, c->unit_table, c->limits, 1, threads);
        plan_along(p, s, c, threads);
        break;
    }
    case STRIDED:
    case HALVED: {
        const strided_step *c = (const strided_step *)a;
        return plan_across(p, s, c->units, c->unit_table, c->limits, c->stride, threads);
    }
    case POOL: {
        const pool_step *i = (const pool_step *)a;
        bundled(s, pool_bands(i) * i->channels, (long)smaller(i->rows, POOLED) * i->stride * i->width);
        break;
    }
    case MEAN: bundled(s, ((const mean_step *)a)->channels, ((const mean_step *)a)->length); break;
    case LINEAR: s->items = divided(((const linear_step *)a)->outputs, s->some = SOME); break;
    case COPY: s->items = 1; break;
    case EXPORT: {
        const export_step *i = (const export_step *)a;
        bundled(s, i->channels, (long)i->height * i->width);
        break;
    }
    case RESIZE: plan_resize(p, s, (const resize_step *)a); break;
    case TRANSPOSE: s->items = ((const transpose_step *)a)->channels * divided(((const transpose_step *)a)->width, BAND); break;
    case VOLUME: s->items = ((const volume_step *)a)->height; break;
    case EXPECTATION: s->items = ((const expectation_step *)a)->height; break;
    case PROPAGATE: s->items = ((const propagate_step *)a)->channels; break;
    case STEM: s->items = divided(((const stem_step *)a)->rows, STEM_BAND); break;
    case SQUARES: {
        const squares_step *i = (const squares_step *)a;
        bundled(s, i->channels, (long)i->height * i->width * PARTS * PARTS / (SIDE * SIDE));
        return plan_squares(s, i);
    }
    case SQUARED: return plan_squared(s, (const squared_step *)a, threads);
    case WINOGRAD: plan_winograd(p, s, (const winograd_step *)a, threads); break;
    }
    return 1;
}

/* Floats that a thread needs beside the arena for a step. */
static size_t scratch_of(const program *p, const step *what) {
    const void *a = what->argument;
    switch (what->code) {
    case POOL: return 2 * (size_t)((const pool_step *)a)->width + 2 * (size_t)((const pool_step *)a)->padding + 8;
    case RESIZE: return resize_scratch(a);
    case VOLUME: return volume_scratch(a);
    case PROPAGATE: return propagate_scratch(a);
    case STEM: return stem_scratch(a);
    case WINOGRAD: return winograd_scratch(p, a);
    case SQUARES: return squares_scratch(a);
    case SQUARED: return squared_scratch(a);
    }
    return 0;
}

static void run_item(const machine *m, const program *p, const work_step *s, int item, int who) {
    const void *a = s->what->argument;
    int at = item * s->some, end = at + s->some;
#define UP_TO(count) for (int last = end < (count) ? end : (count); at < last; at++)
    switch (s->what->code) {
    case IMPORT: UP_TO(((const import_step *)a)->channels * ((const import_step *)a)->stride) import_item(m, p, a, at); break;
    case PHASES: UP_TO(((const phases_step *)a)->channels * ((const phases_step *)a)->stride) phases_item(p, a, at); break;
    case CONV:
        if (s->stretch)
            across_item(m, p, s, item, who);
        else
            conv_item(m, p, s, a, item, who);
        break;
    case STRIDED:
    case HALVED: across_item(m, p, s, item, who); break;
    case POOL: UP_TO(pool_bands(a) * ((const pool_step *)a)->channels) pool_item(m, p, a, at, who); break;
    case MEAN: UP_TO(((const mean_step *)a)->channels) mean_item(p, a, at); break;
    case LINEAR: UP_TO(((const linear_step *)a)->outputs) linear_item(p, a, at); break;
    case COPY: {
        const copy_step *c = a;
        memcpy(p->arena + c->to, p->arena + c->source, c->count * sizeof(float));
        break;
    }
    case EXPORT: UP_TO(((const export_step *)a)->channels) export_item(m, p, a, at); break;
    case RESIZE: resize_item(m, p, s, a, item, who); break;
    case TRANSPOSE: transpose_item(p, a, item); break;
    case VOLUME: volume_item(m, p, a, item, who); break;
    case EXPECTATION: expectation_item(p, a, item); break;
    case PROPAGATE: propagate_item(m, p, a, item, who); break;
    case STEM: stem_item(m, p, a, item, who); break;
    case WINOGRAD: winograd_item(m, p, s, a, item, who); break;
    case SQUARES: UP_TO(((const squares_step *)a)->channels) squares_item(m, p, s, a, at, who); break;
    case SQUARED: squared_item(m, p, s, a, item, who); break;
    }
#undef UP_TO
}

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
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
        int count = smaller(s->together, s->items - (int)item);
        if (!atomic_compare_exchange_weak(&s->taken, &seen, seen + count)) continue;
        for (int i = 0; i < count; i++) run_item(m, p, s, (int)item + i, who);
        atomic_fetch_add(&s->done, count);
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
    for (int first = 0, end; first < p->steps; first = end) {
        int failed = 0;
        end = p->step[first].end;
        for (int s = first; s < end && !failed; s++) failed = take(m, p, &p->step[s], run, who, cancel);
        for (int s = first; s < end && !failed; s++) failed = wait_for(m, &p->step[s], run);
        if (failed) {
            if (cancel) abandon(m, p, first);
            return 1;
        }
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
    for (int s = 0; p->step && s < p->steps; s++) free(p->step[s].stretch), free(p->step[s].numbers);
    free(p->step);
    free(p->packed);
    free(p->lined);
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

/* So many zeros; 0 where there is no memory. */
float *edgekit_arena(long floats) {
    void *found;
    if (posix_memalign(&found, 64, (size_t)(floats + 1) * sizeof(float))) return 0;
    return memset(found, 0, (size_t)floats * sizeof(float));
}

void edgekit_arena_free(float *arena) { free(arena); }

/* Rows of `channels` planes into an array of height x width each where `out`, else out of it. */
void edgekit_move(float *arena, const int *planes, int channels, int height, int width, int pitch, float *array, int out) {
    for (int c = 0; c < channels; c++)
        for (int r = 0; r < height; r++, array += width) {
            float *row = arena + planes[c] + (long)r * pitch;
            if (out)
                memcpy(array, row, width * sizeof(float));
            else
                memcpy(row, array, width * sizeof(float));
        }
}

/* A program of `count` words, whose arrays must live as long; 0 where there is no memory. Between runs only. */
program *edgekit_program(machine *m, const int *words, int count, const int *table, const float *constants, int packed) {
    program *p = calloc(1, sizeof *p);
    if (!p) return 0;
    p->table = table;
    p->constants = constants;
    size_t scratch = (size_t)packed * TILE;
    int lined = 0; /* planes of a Winograd unit, at most */
    for (int at = 0; at < count; at += words[at + 1]) {
        p->steps += words[at] != GROUP;
        int taps = words[at] == WINOGRAD ? most_planes(p, (const winograd_step *)(words + at + 2)) : 0;
        if (taps > lined) lined = taps;
    }
    p->step = calloc(p->steps + 1, sizeof *p->step);
    p->packed = calloc(packed + 1, sizeof *p->packed);
    p->lined = calloc(3 * (size_t)lined + 1, sizeof *p->lined);
    if (!p->step || !p->packed || !p->lined) {
        edgekit_program_free(p);
        return 0;
    }
    for (int tap = 0; tap < packed; tap++) p->packed[tap] = tap * TILE;
    for (int tap = 0; tap < 3 * lined; tap++) p->lined[tap] = tap / 3 * LINE + tap % 3 - 1;
    for (int at = 0, s = 0, end = 0; at < count; at += words[at + 1]) {
        if (words[at] == GROUP) {
            end = s + words[at + 2];
            continue;
        }
        p->step[s].end = s < end ? end : s + 1;
        p->step[s].what = (const step *)(words + at);
        if (!plan(p, &p->step[s], m->threads)) {
            edgekit_program_free(p);
            return 0;
        }
        size_t own = scratch_of(p, p->step[s++].what);
        if (own > scratch) scratch = own;
    }
    if (!more_scratch(m, scratch)) {
        edgekit_program_free(p);
        return 0;
    }
    return p;
}

/* One run on an arena of its layout: 0, or 1 where *cancel became something else than 0. One at a time. */
int edgekit_run(machine *m, program *p, float *arena, const float *const *inputs, float *const *outputs, const volatile int *cancel) {
    uint32_t run = (uint32_t)atomic_load(&m->run) + 1;
    if (!run) run = 1;
    p->arena = arena;
    m->inputs = inputs;
    m->outputs = outputs;
    for (int s = 0; s < p->steps; s++) {
        atomic_store(&p->step[s].done, 0);
        atomic_store(&p->step[s].taken, (uint64_t)run << 32);
    }
    begin(m, p, (int)run);
    return work(m, p, run, 0, cancel);
}
