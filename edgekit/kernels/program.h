/* Programs as edgekit/program.py writes them, and who runs them. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* The order of STEPS in edgekit/program.py, and of each step's arguments. */
enum {
    IMPORT, PHASES, CONV, POOL, MEAN, LINEAR, COPY, EXPORT, STRIDED, RESIZE, TRANSPOSE, VOLUME, EXPECTATION, PROPAGATE, STEM, WINOGRAD,
    SQUARES, SQUARED, HALVED, GROUP
};

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

typedef struct {
    int rows, columns, pitch, stride, source_pitch, units, unit_table, limits;
} strided_step;

typedef struct {
    int input, sources, channels, height, width, source_pitch, row_table, row_weights, column_table, column_weights;
    int scale, shift, floor, addend, output, rows, columns, pitch, planes;
} resize_step;

typedef struct {
    int channels, sources, height, width, source_pitch, planes, pitch;
} transpose_step;

typedef struct {
    int left, right, channels, height, width, pitch, disparity, first, step, slices, sums, limits, planes;
} volume_step;

typedef struct {
    int slices, sources, height, width, pitch, values, to;
} expectation_step;

typedef struct {
    int channels, sources, gates, height, width, pitch, planes;
} propagate_step;

typedef struct {
    int input, channels, height, width, inner, outputs, rows, columns, pitch, planes, weight, bias, second, second_bias, limits;
} stem_step;

typedef struct {
    int height, width, pitch, units, unit_table, limits;
} winograd_step;

typedef struct {
    int channels, sources, height, width, pitch, to;
} squares_step;

typedef struct {
    int channels, source, outputs, planes, height, width, pitch, weight, bias, limits;
} squared_step;

/* UNIT of edgekit/program.py */
typedef struct {
    int outputs, taps, output_table, tap_table, weight, bias, scale, shift, floor;
} unit;

typedef struct {
    int code, words; /* with these two */
    int argument[];
} step;

/* `number` times `wide` pixels, the second time `jump` behind `at`, and `from_jump` behind where their taps are read from. */
typedef struct {
    int at, jump, from, from_jump, wide, number;
} stretch;

typedef struct {
    const step *what;
    int end;                         /* the first step behind those that may run at the same time as this one */
    int items, tiles, strips, parts; /* of a convolution, see conv_item and across_item; of a resize, see plan_resize */
    int some;                        /* channels, or what else it has many of, that are one item */
    stretch *stretch;                /* its tiles where it has MANY outputs together, and what of its arguments is then used */
    int units, unit_table, limits, stride;
    int *numbers; /* of squares, see there */
    int together; /* how many items are taken at once */
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
    int *lined;  /* and those of a Winograd unit */
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

static int divided(int count, int by) { return (count + by - 1) / by; }

static int smaller(int a, int b) { return a < b ? a : b; }

/* What a step does to each element it reads, where it does anything. */
typedef struct {
    float scale, shift, floor;
} before;

static before before_of(const program *p, int scale, int shift, int floor, int channel) {
    if (scale < 0) return (before){1, 0, -__builtin_inff()};
    return (before){p->constants[scale + channel], p->constants[shift + channel], p->constants[floor + channel]};
}

