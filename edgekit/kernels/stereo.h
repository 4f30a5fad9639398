/* Steps of stereo networks: pictures and maps of other sizes, costs of a match and what is expected of them, propagation. */

static int smaller(int a, int b) { return a < b ? a : b; }

/* --- resize: an item is a band of a channel's rows. Rows of the picture are made as wide as the result, and kept while the next
 * result needs them; where the result is narrower, two rows are mixed first. --- */

#define BAND 16
enum { MIXED, WIDENED, AS_THEY_ARE }; /* what becomes of a row of the picture first */

static void plan_resize(const program *p, work_step *s, const resize_step *a) {
    s->tiles = divided(a->rows, BAND);
    s->items = s->tiles * a->channels;
    s->parts = a->columns < a->width ? MIXED : WIDENED;
    const int *table = p->table + a->column_table;
    int same = a->columns <= a->width;
    for (int q = 0; same && q < a->columns; q++) same = table[2 * q] == q && p->constants[a->column_weights + q] == 0;
    if (same) s->parts = AS_THEY_ARE;
}

static size_t resize_scratch(const resize_step *a) { return 2 * (size_t)(a->columns > a->width ? a->columns : a->width); }

static void widen(const float *restrict from, int width, const int *restrict table, const float *restrict weights, int columns,
                  float *restrict to) {
    int q = 0;
#if defined(__AVX512F__)
    const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odds = _mm512_add_epi32(evens, _mm512_set1_epi32(1));
    for (; q + LANES <= columns; q += LANES) {
        __m512i low = _mm512_loadu_si512(table + 2 * q), high = _mm512_loadu_si512(table + 2 * q + LANES);
        int first = table[2 * q], there = smaller(width - first, LANES);
        __m512i base = _mm512_set1_epi32(first);
        __m512i near = _mm512_sub_epi32(_mm512_permutex2var_epi32(low, evens, high), base);
        __m512i far = _mm512_sub_epi32(_mm512_permutex2var_epi32(low, odds, high), base);
        vec a, b;
        if (!_mm512_cmpge_epu32_mask(near, _mm512_set1_epi32(LANES)) && !_mm512_cmpge_epu32_mask(far, _mm512_set1_epi32(LANES))) {
            vec x = LOAD_SOME(from + first, there); /* all of them lie within one vector */
            a = _mm512_permutexvar_ps(near, x);
            b = _mm512_permutexvar_ps(far, x);
        } else {
            a = GATHER(from + first, (ivec)near);
            b = GATHER(from + first, (ivec)far);
        }
        STORE(to + q, a + LOAD(weights + q) * (b - a));
    }
#endif
    (void)width;
    for (; q < columns; q++) {
        float a = from[table[2 * q]], b = from[table[2 * q + 1]];
        to[q] = a + weights[q] * (b - a);
    }
}

static void mix(const float *restrict top, const float *restrict bottom, float weight, int count, float *restrict to) {
    for (int q = 0; q < count; q++) to[q] = top[q] + weight * (bottom[q] - top[q]);
}

/* A row of the picture at full width: one of the two that are kept. */
static const float *widened(const float *from, const resize_step *a, const program *p, int kind, int row, int other, float *lines,
                            int *kept) {
    const float *x = from + (long)row * a->source_pitch;
    if (kind == AS_THEY_ARE) return x;
    for (int k = 0; k < 2; k++)
        if (kept[k] == row) return lines + (long)k * a->columns;
    int k = kept[0] == other;
    kept[k] = row;
    widen(x, a->width, p->table + a->column_table, p->constants + a->column_weights, a->columns, lines + (long)k * a->columns);
    return lines + (long)k * a->columns;
}

static void finish(float *restrict to, const float *restrict addend, before b, int plain, int count) {
    if (!plain)
        for (int q = 0; q < count; q++) {
            float x = to[q] * b.scale + b.shift;
            to[q] = x > b.floor ? x : b.floor;
        }
    if (addend)
        for (int q = 0; q < count; q++) to[q] += addend[q];
}

static void resize_item(const machine *m, const program *p, const work_step *s, const resize_step *a, int item, int who) {
    int channel = item / s->tiles, first = item % s->tiles * BAND, last = smaller(first + BAND, a->rows);
    const float *from = a->input >= 0 ? m->inputs[a->input] + (long)channel * a->height * a->width
                                      : p->arena + p->table[a->sources + channel];
    float *to = a->output >= 0 ? m->outputs[a->output] + (long)channel * a->rows * a->columns
                               : p->arena + p->table[a->planes + channel];
    const float *addend = a->addend >= 0 ? m->inputs[a->addend] + (long)channel * a->rows * a->columns : 0;
    before b = before_of(p, a->scale, a->shift, a->floor, channel);
    float *lines = m->scratch[who];
    int kept[2] = {-1, -1};
    for (int r = first; r < last; r++) {
        int top = p->table[a->row_table + 2 * r], bottom = p->table[a->row_table + 2 * r + 1];
        float weight = p->constants[a->row_weights + r], *row = to + (long)r * a->pitch;
        if (s->parts == MIXED) {
            mix(from + (long)top * a->source_pitch, from + (long)bottom * a->source_pitch, weight, a->width, lines);
            widen(lines, a->width, p->table + a->column_table, p->constants + a->column_weights, a->columns, row);
        } else {
            const float *above = widened(from, a, p, s->parts, top, bottom, lines, kept);
            const float *below = widened(from, a, p, s->parts, bottom, top, lines, kept);
            if (weight == 0)
                memcpy(row, above, a->columns * sizeof *row);
            else
                mix(above, below, weight, a->columns, row);
        }
        finish(row, addend ? addend + (long)r * a->columns : 0, b, a->scale < 0, a->columns);
    }
}

/* --- transpose: an item is some columns of a channel, which become rows. --- */

static void transpose_item(const program *p, const transpose_step *a, int item) {
    int bands = divided(a->width, BAND), channel = item / bands, first = item % bands * BAND;
    const float *from = p->arena + p->table[a->sources + channel];
    float *to = p->arena + p->table[a->planes + channel];
    int columns = smaller(BAND, a->width - first);
    for (int top = 0; top < a->height; top += BAND) {
        int rows = smaller(BAND, a->height - top);
        for (int c = 0; c < columns; c++)
            for (int r = 0; r < rows; r++)
                to[(long)(first + c) * a->pitch + top + r] = from[(long)(top + r) * a->source_pitch + first + c];
    }
}

/* --- volume: an item is a row. Every channel's row of the right view lies in the scratch between as many zeros as any shift can
 * reach, behind the places and the fractions of the samples. --- */

static int reach_of(const volume_step *a) { return 2 * (a->first + a->slices + 1); }

static size_t line_of(const volume_step *a) { return (size_t)a->width + 2 * reach_of(a) + 4 * LANES; }

static size_t volume_scratch(const volume_step *a) {
    return 2 * (size_t)divided(a->width, LANES) * LANES + (size_t)a->slices * LANES + a->channels * line_of(a);
}

/* Where the samples of slice 0 lie: whole places and what is left of them. */
static void places_of(const volume_step *a, const float *restrict disparity, int *restrict place, float *restrict rest) {
    float far = reach_of(a) / 2, low = -far, high = a->width + far;
    for (int x = 0; x < a->width; x++) {
        float at = (float)x - disparity[x];
        at = at > low ? at : low; /* also where it is not a number */
        at = at < high ? at : high;
        int whole = (int)at;
        whole -= (float)whole > at;
        place[x] = whole - a->first;
        rest[x] = at - (float)whole;
    }
}

/* `count` samples from each of `place` on, one after the other in places. */
typedef struct {
    const float *line;
    ivec at;
#if defined(__AVX512F__)
    vec low, high;
    int together;
#endif
} samples;

static inline samples samples_of(const float *line, ivec place, int count) {
    samples s = {.line = line, .at = place};
#if defined(__AVX512F__)
    int first = _mm512_reduce_min_epi32((__m512i)place), last = _mm512_reduce_max_epi32((__m512i)place);
    s.together = last - first + count <= 2 * LANES;
    if (s.together) { /* two vectors hold all of them */
        s.low = LOAD(line + first);
        s.high = LOAD(line + first + LANES);
        s.at = place - first;
    }
#else
    (void)count;
#endif
    return s;
}

static inline vec sample(const samples *s, int number) {
#if defined(__AVX512F__)
    if (s->together) return _mm512_permutex2var_ps(s->low, (__m512i)(s->at + number), s->high);
#endif
    return GATHER(s->line + number, s->at);
}

static void volume_item(const machine *m, const program *p, const volume_step *a, int y, int who) {
    int whole = divided(a->width, LANES) * LANES, reach = reach_of(a);
    float *rest = m->scratch[who], *sum = rest + 2 * whole, *lines = sum + (long)a->slices * LANES;
    int *place = (int *)(rest + whole);
    const float *sums = p->constants + a->sums, *limits = p->constants + a->limits;
    const long at = (long)y * a->pitch;
    for (int c = 0; c < a->channels; c++) {
        float *line = lines + c * line_of(a);
        memset(line, 0, reach * sizeof *line);
        memcpy(line + reach, p->arena + p->table[a->right + c] + at, a->width * sizeof *line);
        memset(line + reach + a->width, 0, (line_of(a) - reach - a->width) * sizeof *line);
    }
    if (a->disparity >= 0)
        places_of(a, p->arena + a->disparity + at, place, rest);
    else
        for (int x = 0; x < a->width; x++) place[x] = x - a->first, rest[x] = 0;
    for (int x = a->width; x < whole; x++) place[x] = place[a->width - 1], rest[x] = 0;
    /* With step 1 the samples of later slices lie before those of the first. */
    int back = a->step > 0 ? a->slices - 1 : 0;
    for (int x = 0; x < a->width; x += LANES) {
        int some = smaller(LANES, a->width - x);
        ivec from = LOAD_INTS(place + x) - back;
        vec part = LOAD(rest + x);
        for (int s = 0; s < a->slices; s++) STORE(sum + s * LANES, ALL(0));
        for (int c = 0; c < a->channels; c++) {
            samples right = samples_of(lines + c * line_of(a) + reach, from, a->slices + 1);
            vec left = LOAD_SOME(p->arena + p->table[a->left + c] + at + x, some), near = left - sample(&right, 0);
            for (int s = 0; s < a->slices; s++) {
                vec next = left - sample(&right, s + 1);
                float *to = sum + (a->step > 0 ? back - s : s) * LANES;
                STORE(to, LOAD(to) + ABS(near + part * (next - near)));
                near = next;
            }
        }
        for (int s = 0; s < a->slices; s++) {
            vec cost = MIN(MAX(LOAD(sum + s * LANES) * ALL(sums[0]) + ALL(sums[1]), ALL(limits[0])), ALL(limits[1]));
            STORE_SOME(p->arena + p->table[a->planes + s] + at + x, cost, some);
        }
    }
}

/* --- expectation: an item is a row. --- */

static void expectation_item(const program *p, const expectation_step *a, int y) {
    const int *source = p->table + a->sources;
    const float *values = p->constants + a->values, *from = p->arena + (long)y * a->pitch;
    for (int x = 0; x < a->width; x += LANES) {
        int some = smaller(LANES, a->width - x);
        vec most = LOAD_SOME(from + source[0] + x, some), total = ALL(0), weighted = ALL(0);
        for (int s = 1; s < a->slices; s++) most = MAX(most, LOAD_SOME(from + source[s] + x, some));
        for (int s = 0; s < a->slices; s++) {
            vec weight = EXP(LOAD_SOME(from + source[s] + x, some) - most);
            total += weight;
            weighted += weight * ALL(values[s]);
        }
        STORE_SOME(p->arena + a->to + (long)y * a->pitch + x, weighted / total, some);
    }
}

/* --- propagate: an item is a channel, since every row needs the one before. --- */

static size_t propagate_scratch(const propagate_step *a) { return 2 * ((size_t)a->width + 2); }

static inline float spread(float x, float above, float level, float below, const float *last, int first, int end) {
    float part = 1 / (__builtin_fabsf(above) + __builtin_fabsf(level) + __builtin_fabsf(below) + 1e-8f);
    above = first ? 0 : above * part, level *= part, below = end ? 0 : below * part;
    return (1 - above - level - below) * x + above * last[-1] + level * last[0] + below * last[1];
}

static void propagate_item(const machine *m, const program *p, const propagate_step *a, int channel, int who) {
    const float *x = p->arena + p->table[a->sources + channel], *gate[3];
    for (int g = 0; g < 3; g++) gate[g] = p->arena + p->table[a->gates + g * a->channels + channel];
    float *to = p->arena + p->table[a->planes + channel];
    float *now = m->scratch[who] + 1, *last = now + a->width + 2;
    now[-1] = now[a->width] = last[-1] = last[a->width] = 0;
    for (int t = 0, end = a->width - 1; t < a->height; t++) {
        const float *restrict line = x + (long)t * a->pitch, *restrict old = last;
        const float *restrict above = gate[0] + (long)t * a->pitch, *restrict level = gate[1] + (long)t * a->pitch;
        const float *restrict below = gate[2] + (long)t * a->pitch;
        float *restrict new = now;
        if (!t)
            memcpy(new, line, a->width * sizeof *new);
        else {
            for (int i = 0; i < a->width; i++) new[i] = spread(line[i], above[i], level[i], below[i], old + i, 0, 0);
            new[0] = spread(line[0], above[0], level[0], below[0], old, 1, !end);
            if (end) new[end] = spread(line[end], above[end], level[end], below[end], old + end, 0, 1);
        }
        memcpy(to + (long)t * a->pitch, new, a->width * sizeof *new);
        now = last, last = new;
    }
}

/* --- stem: an item is a block of its results. The picture's rows are read into the scratch with the pixels around them, four rows
 * between the convolutions are computed at once, and lie there with their even columns before their odd ones. --- */

#define BLOCK 95 /* columns of results: of twice as many and one */
#define STEM_BAND 16
#define FOUR 4
#define BROAD ((WIDE + 1) / 2)
#define STEM_HALF (96 + 2 * LANES)
#define STEM_LINE (2 * STEM_HALF)
_Static_assert(192 % (BROAD * LANES) == 0, "a block is filled by whole pieces");

static size_t stem_scratch(const stem_step *a) {
    return ((size_t)a->channels * (FOUR + 2) + FOUR + (size_t)a->inner * (FOUR + 1)) * STEM_LINE;
}

/* `rows` rows from y on and BLOCK columns from x on, zero where the picture has none. */
static void surroundings(const float *from, int height, int width, int y, int rows, int x, float *to) {
    int first = x < 0 ? 0 : x, last = smaller(x + 2 * BLOCK + 3, width);
    for (int r = y; r < y + rows; r++, to += STEM_LINE) {
        memset(to, 0, STEM_LINE * sizeof *to);
        if (r >= 0 && r < height && first < last)
            memcpy(to + first - x, from + (long)r * width + first, (last - first) * sizeof *to);
    }
}

/* BROAD vectors of each of `rows` rows of one output, at least 0. */
static inline __attribute__((always_inline)) void stem_piece(const float *restrict lines, int rows, int channels,
                                                             const float *restrict weight, float bias, float *restrict to) {
    vec sum[FOUR][BROAD];
    _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 3") for (int v = 0; v < BROAD; v++) sum[r][v] = ALL(bias);
    for (int c = 0; c < channels; c++, weight += 9) {
        vec w[9];
        _Pragma("GCC unroll 9") for (int k = 0; k < 9; k++) w[k] = ALL(weight[k]);
        _Pragma("GCC unroll 6") for (int row = 0; row < rows + 2; row++)
            _Pragma("GCC unroll 3") for (int column = 0; column < 3; column++)
                _Pragma("GCC unroll 3") for (int v = 0; v < BROAD; v++) {
                    vec x = LOAD(lines + (c * (rows + 2) + row) * STEM_LINE + column + v * LANES);
                    _Pragma("GCC unroll 3") for (int k = 0; k < 3; k++)
                        if (row - k >= 0 && row - k < rows) sum[row - k][v] += w[k * 3 + column] * x;
                }
    }
    _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 3") for (int v = 0; v < BROAD; v++) STORE(to + r * STEM_LINE + v * LANES, MAX(sum[r][v], ALL(0)));
}

static void stem_one(const float *lines, int channels, const float *weight, float bias, float *to) {
    for (int x = 0; x < 192; x += BROAD * LANES) stem_piece(lines + x, 1, channels, weight, bias, to + x);
}

static void stem_four(const float *lines, int channels, const float *weight, float bias, float *to) {
    for (int x = 0; x < 192; x += BROAD * LANES) stem_piece(lines + x, FOUR, channels, weight, bias, to + x);
}

/* `rows` rows between the convolutions, from y on and from column x on, behind `skipped` of them in every channel's part of `made`. */
static void stem_between(const machine *m, const program *p, const stem_step *a, int y, int rows, int x, float *lines,
                         float *restrict made, int skipped) {
    float *whole = lines + (long)a->channels * (FOUR + 2) * STEM_LINE;
    for (int c = 0; c < a->channels; c++)
        surroundings(m->inputs[a->input] + (long)c * a->height * a->width, a->height, a->width, y - 1, rows + 2, x - 1,
                     lines + (long)c * (rows + 2) * STEM_LINE);
    for (int k = 0; k < a->inner; k++) {
        const float *weight = p->constants + a->weight + (long)k * a->channels * 9;
        (rows == 1 ? stem_one : stem_four)(lines, a->channels, weight, p->constants[a->bias + k], whole);
        for (int r = 0; r < rows; r++) {
            float *restrict from = whole + r * STEM_LINE, *restrict to = made + (k * (FOUR + 1) + skipped + r) * STEM_LINE;
            if (x < 0) from[0] = 0;
            for (int i = a->width - x; i < 192; i++) from[i] = 0;
            if (y + r < 0 || y + r >= a->height) memset(from, 0, STEM_LINE * sizeof *from);
            for (int q = 0; q < 96; q++) to[q] = from[2 * q], to[STEM_HALF + q] = from[2 * q + 1];
        }
    }
}

static void stem_row(const program *p, const stem_step *a, int output, int row, int q, int columns, const float *made) {
    const float *limits = p->constants + a->limits;
    float *to = p->arena + p->table[a->planes + output] + (long)row * a->pitch + q;
    for (int x = 0; x < columns; x += LANES) {
        const float *weight = p->constants + a->second + (long)output * a->inner * 9, *line = made + x;
        vec sum = ALL(p->constants[a->second_bias + output]);
        for (int k = 0; k < a->inner; k++, line += (FOUR - 2) * STEM_LINE)
            for (int r = 0; r < 3; r++, weight += 3, line += STEM_LINE)
                sum += LOAD(line) * ALL(weight[0]) + LOAD(line + STEM_HALF) * ALL(weight[1]) + LOAD(line + 1) * ALL(weight[2]);
        STORE_SOME(to + x, MIN(MAX(sum, ALL(limits[0])), ALL(limits[1])), smaller(LANES, columns - x));
    }
}

static void stem_item(const machine *m, const program *p, const stem_step *a, int item, int who) {
    int blocks = divided(a->columns, BLOCK), q = item % blocks * BLOCK, columns = smaller(BLOCK, a->columns - q);
    int first = item / blocks * STEM_BAND, end = smaller(first + STEM_BAND, a->rows);
    float *lines = m->scratch[who], *made = lines + ((long)a->channels * (FOUR + 2) + FOUR) * STEM_LINE;
    stem_between(m, p, a, 2 * first - 1, 1, 2 * q - 1, lines, made, 0);
    for (int row = first; row < end; row += FOUR / 2) {
        stem_between(m, p, a, 2 * row, FOUR, 2 * q - 1, lines, made, 1);
        for (int r = row; r < row + FOUR / 2 && r < end; r++)
            for (int k = 0; k < a->outputs; k++) stem_row(p, a, k, r, q, columns, made + 2 * (r - row) * STEM_LINE);
        for (int k = 0; k < a->inner; k++)
            memcpy(made + k * (FOUR + 1) * STEM_LINE, made + (k * (FOUR + 1) + FOUR) * STEM_LINE, STEM_LINE * sizeof *made);
    }
}
