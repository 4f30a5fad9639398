/* Steps that move, pool or join what planes hold, and products with matrices. */

/* A row of few numbers, for which a call of memcpy takes longer than the numbers do. */
static void copy_row(float *restrict to, const float *restrict from, int count) {
    if (count < 4 || count > 64) {
        memcpy(to, from, count * sizeof *to);
        return;
    }
    for (int at = 0; at + 4 <= count; at += 4) memcpy(to + at, from + at, 4 * sizeof *to);
    memcpy(to + count - 4, from + count - 4, 4 * sizeof *to);
}

/* One row of every column phase (column % stride) of a picture, out of a row of it or of zeros where it has none. */
static void split_row(const float *restrict from, int width, int stride, float *arena, const int *planes, long at, int columns) {
    if (!from) {
        for (int c = 0; c < stride; c++) memset(arena + planes[c] + at, 0, columns * sizeof *arena);
        return;
    }
    int whole = width / stride < columns ? width / stride : columns;
    if (stride == 1)
        copy_row(arena + planes[0] + at, from, whole);
    else if (stride == 2)
        halve(from, whole, arena + planes[0] + at, arena + planes[1] + at);
    else
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

#define POOLED 16 /* rows of a channel that are one item */

static int pool_bands(const pool_step *a) { return divided(a->rows, POOLED); }

/* A row of the window's height reduced to one, then along it. */
static void pool_item(const machine *m, const program *p, const pool_step *a, int item, int who) {
    int bands = pool_bands(a), channel = item / bands, start = item % bands * POOLED;
    int end = smaller(start + POOLED, a->rows);
    const float *from = p->arena + p->table[a->sources + channel];
    float *to = p->arena + p->table[a->planes + channel] + (long)start * a->pitch;
    before b = before_of(p, a->scale, a->shift, a->floor, channel);
    float *line = m->scratch[who] + a->padding, none = a->kind ? -__builtin_inff() : 0;
    for (int c = -a->padding; c < a->width + a->padding; c++) line[c] = none;
    for (int r = start; r < end; r++, to += a->pitch) {
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
        if (a->kernel == 3 && a->stride == 2 && a->kind && a->padding == 1 && 2 * a->columns <= a->width + 1) {
            float *even = line + a->width + 1, *odd = even + a->columns + 1; /* `odd` from the column before the first on */
            halve(line - 1, a->columns, odd, even);
            odd[a->columns] = line[2 * a->columns - 1];
            for (int q = 0; q < a->columns; q++) {
                float found = odd[q] > odd[q + 1] ? odd[q] : odd[q + 1];
                to[q] = found > even[q] ? found : even[q];
            }
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

#define SOME 16 /* outputs of a product with a matrix that are one item */

static void linear_item(const program *p, const linear_step *a, int o) {
    const float *x = p->arena + a->source, *limits = p->constants + a->limits;
    const float *w = p->constants + a->weight + (long)o * a->taps;
    vec sum[4] = {ALL(0), ALL(0), ALL(0), ALL(0)};
    int k = 0;
    for (; k + 4 * LANES <= a->taps; k += 4 * LANES)
        for (int v = 0; v < 4; v++) __builtin_prefetch((const char *)(w + k + v * LANES) + AHEAD), sum[v] += LOAD(w + k + v * LANES) * LOAD(x + k + v * LANES);
    float lanes[LANES], total = p->constants[a->bias + o];
    STORE(lanes, (sum[0] + sum[1]) + (sum[2] + sum[3]));
    for (int l = 0; l < LANES; l++) total += lanes[l];
    for (; k < a->taps; k++) total += w[k] * x[k];
    total = total < limits[0] ? limits[0] : total;
    p->arena[a->to + o] = total > limits[1] ? limits[1] : total;
}

static void export_item(const machine *m, const program *p, const export_step *a, int channel) {
    const float *from = p->arena + p->table[a->planes + channel];
    float *to = m->outputs[a->output] + (long)channel * a->height * a->width;
    for (int r = 0; r < a->height; r++, from += a->pitch, to += a->width) copy_row(to, from, a->width);
}

