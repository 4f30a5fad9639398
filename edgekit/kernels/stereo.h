/* Steps of stereo networks: pictures and maps of other sizes, costs of a match and what is expected of them, propagation. */

/* --- resize: an item is a band of a channel's rows. Rows of the picture are made as wide as the result, and kept while the next
 * result needs them; where the result is narrower, two rows are mixed first. --- */

#define BAND 8
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
        if (!_mm512_cmpge_epu32_mask(_mm512_or_si512(near, far), _mm512_set1_epi32(LANES))) {
            vec x = LOAD_SOME(from + first, there); /* all of them lie within one vector */
            a = _mm512_permutexvar_ps(near, x);
            b = _mm512_permutexvar_ps(far, x);
        } else if (width - first >= 4 * LANES && !_mm512_cmpge_epu32_mask(_mm512_or_si512(near, far), _mm512_set1_epi32(4 * LANES))) {
            vec x[4]; /* within four */
            for (int k = 0; k < 4; k++) x[k] = LOAD(from + first + k * LANES);
            a = _mm512_mask_blend_ps(_mm512_test_epi32_mask(near, _mm512_set1_epi32(2 * LANES)),
                                     _mm512_permutex2var_ps(x[0], near, x[1]), _mm512_permutex2var_ps(x[2], near, x[3]));
            b = _mm512_mask_blend_ps(_mm512_test_epi32_mask(far, _mm512_set1_epi32(2 * LANES)),
                                     _mm512_permutex2var_ps(x[0], far, x[1]), _mm512_permutex2var_ps(x[2], far, x[3]));
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

/* Between two rows, and what becomes of that. */
static void mix(const float *top, const float *bottom, float weight, before b, const float *addend, int count, float *to) {
    vec w = ALL(weight), times = ALL(b.scale), plus = ALL(b.shift), least = ALL(b.floor);
    for (int q = 0; q < count; q += LANES) {
        int some = smaller(LANES, count - q);
        vec x = LOAD_SOME(top + q, some);
        x = MAX((x + w * (LOAD_SOME(bottom + q, some) - x)) * times + plus, least);
        if (addend) x += LOAD_SOME(addend + q, some);
        STORE_SOME(to + q, x, some);
    }
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
        const float *more = addend ? addend + (long)r * a->columns : 0;
        if (s->parts == MIXED) {
            mix(from + (long)top * a->source_pitch, from + (long)bottom * a->source_pitch, weight, (before){1, 0, -__builtin_inff()}, 0,
                a->width, lines);
            widen(lines, a->width, p->table + a->column_table, p->constants + a->column_weights, a->columns, lines + a->width);
            mix(lines + a->width, lines + a->width, 0, b, more, a->columns, row);
        } else {
            const float *above = widened(from, a, p, s->parts, top, bottom, lines, kept);
            const float *below = weight ? widened(from, a, p, s->parts, bottom, top, lines, kept) : above;
            mix(above, below, weight, b, more, a->columns, row);
        }
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

#define MOST_STEM 64 /* channels that a stem reads: of edgekit/kernels/checking.py */

/* --- stem: an item is a band of its results. Four rows between the convolutions are computed at once, so that what was loaded of
 * the picture is used for three of them; they lie in the scratch, the even columns before the odd ones. --- */

#define STEM_BAND 8
#define FOUR 4
#define BROAD ((WIDE + 1) / 2)
#define PIECE (BROAD * LANES)
#define EDGE (PIECE + 2 * LANES) /* floats of a row of what lies around a piece at the picture's edge */

static size_t stem_half(const stem_step *a) { return (size_t)a->columns + 2 * LANES; }

static size_t stem_line(const stem_step *a) { return (size_t)a->width + PIECE; }

static size_t stem_scratch(const stem_step *a) {
    return (size_t)a->channels * (FOUR + 2) * EDGE + FOUR * stem_line(a) + stem_line(a) + (size_t)a->inner * (FOUR + 1) * 2 * stem_half(a);
}

/* A piece of each of `rows` rows of one output, at least 0: `from` has the rows around it, of every channel. */
static inline __attribute__((always_inline)) void stem_piece(const float *const *from, long x, int rows, int channels,
                                                             const float *restrict weight, float bias, float *restrict to, long pitch) {
    vec sum[FOUR][BROAD];
    _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 3") for (int v = 0; v < BROAD; v++) sum[r][v] = ALL(bias);
    for (int c = 0; c < channels; c++, weight += 9, from += rows + 2) {
        vec w[9];
        _Pragma("GCC unroll 9") for (int k = 0; k < 9; k++) w[k] = ALL(weight[k]);
        _Pragma("GCC unroll 6") for (int row = 0; row < rows + 2; row++)
            _Pragma("GCC unroll 3") for (int column = 0; column < 3; column++)
                _Pragma("GCC unroll 3") for (int v = 0; v < BROAD; v++) {
                    vec here = LOAD(from[row] + x + column - 1 + v * LANES);
                    KEEP(here);
                    _Pragma("GCC unroll 3") for (int k = 0; k < 3; k++)
                        if (row - k >= 0 && row - k < rows) sum[row - k][v] += w[k * 3 + column] * here;
                }
    }
    _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 3") for (int v = 0; v < BROAD; v++) STORE(to + r * pitch + v * LANES, MAX(sum[r][v], ALL(0)));
}

static void stem_one(const float *const *from, long x, int channels, const float *weight, float bias, float *to, long pitch) {
    stem_piece(from, x, 1, channels, weight, bias, to, pitch);
}

static void stem_four(const float *const *from, long x, int channels, const float *weight, float bias, float *to, long pitch) {
    stem_piece(from, x, FOUR, channels, weight, bias, to, pitch);
}

/* What lies around a piece of a row, zero beside the picture. */
static void bordered(const float *from, int x, int width, float *to) {
    to[0] = x ? from[x - 1] : 0;
    for (int v = 0; v <= PIECE; v += LANES) {
        int some = smaller(LANES, width - x - v);
        STORE(to + 1 + v, some > 0 ? LOAD_SOME(from + x + v, some) : ALL(0));
    }
}

/* The next four rows' piece, which are new in the next step: few processors see so many rows coming by themselves. */
static void fetch(const float *from, int width) {
    for (int r = 1; r <= FOUR; r++)
        for (int v = 0; v < PIECE; v += 16) __builtin_prefetch(from + (long)r * width + v);
}

/* `rows` rows between the convolutions, from y on, behind `skipped` of them in every channel's part of `made`. */
static void stem_between(const machine *m, const program *p, const stem_step *a, int y, int rows, float *edge, float *restrict made,
                         int skipped) {
    long line = stem_line(a), half = stem_half(a), size = (long)a->height * a->width;
    float *whole = edge + (long)a->channels * (FOUR + 2) * EDGE, *none = whole + FOUR * line;
    const float *from[MOST_STEM * (FOUR + 2)], *around[MOST_STEM * (FOUR + 2)];
    int all = a->channels * (rows + 2);
    for (int k = 0; k < all; k++) {
        int row = y - 1 + k % (rows + 2);
        int there = row >= 0 && row < a->height;
        from[k] = there ? m->inputs[a->input] + k / (rows + 2) * size + (long)row * a->width : none;
        around[k] = edge + (long)k * EDGE + 1;
    }
    for (int k = 0; k < a->inner; k++) {
        const float *weight = p->constants + a->weight + (long)k * a->channels * 9;
        for (int x = 0; x < a->width; x += PIECE) {
            int inside = x && x + PIECE < a->width;
            if (!inside)
                for (int e = 0; e < all; e++) bordered(from[e], x, a->width, edge + (long)e * EDGE);
            if (!k && inside)
                for (int c = 0; c < a->channels; c++) fetch(from[(c + 1) * (rows + 2) - 1] + x, a->width);
            (rows == 1 ? stem_one : stem_four)(inside ? from : around, inside ? x : 0, a->channels, weight,
                                               p->constants[a->bias + k], whole + x, line);
        }
        for (int r = 0; r < rows; r++) {
            float *restrict read = whole + r * line, *restrict even = made + (k * (FOUR + 1) + skipped + r) * 2 * half;
            float *restrict odd = even + half;
            read[a->width] = 0;
            if (y + r < 0 || y + r >= a->height) memset(read, 0, a->width * sizeof *read);
            odd[0] = 0; /* left of the first column */
            halve(read, a->columns, even, odd + 1);
        }
    }
}

static void stem_row(const program *p, const stem_step *a, int output, int row, const float *made) {
    const float *limits = p->constants + a->limits;
    float *to = p->arena + p->table[a->planes + output] + (long)row * a->pitch;
    long half = stem_half(a);
    for (int x = 0; x < a->columns; x += LANES) {
        const float *weight = p->constants + a->second + (long)output * a->inner * 9, *line = made + x;
        vec sum = ALL(p->constants[a->second_bias + output]);
        for (int k = 0; k < a->inner; k++, line += (FOUR - 2) * 2 * half)
            for (int r = 0; r < 3; r++, weight += 3, line += 2 * half)
                sum += LOAD(line + half) * ALL(weight[0]) + LOAD(line) * ALL(weight[1]) + LOAD(line + half + 1) * ALL(weight[2]);
        STORE_SOME(to + x, MIN(MAX(sum, ALL(limits[0])), ALL(limits[1])), smaller(LANES, a->columns - x));
    }
}

static void stem_item(const machine *m, const program *p, const stem_step *a, int item, int who) {
    int first = item * STEM_BAND, end = smaller(first + STEM_BAND, a->rows);
    long each = 2 * stem_half(a);
    float *edge = m->scratch[who], *none = edge + (long)a->channels * (FOUR + 2) * EDGE + FOUR * stem_line(a);
    float *made = none + stem_line(a);
    memset(none, 0, stem_line(a) * sizeof *none);
    stem_between(m, p, a, 2 * first - 1, 1, edge, made, 0);
    for (int row = first; row < end; row += FOUR / 2) {
        stem_between(m, p, a, 2 * row, FOUR, edge, made, 1);
        for (int r = row; r < row + FOUR / 2 && r < end; r++)
            for (int k = 0; k < a->outputs; k++) stem_row(p, a, k, r, made + 2 * (r - row) * each);
        for (int k = 0; k < a->inner; k++) /* the last row is the first one of the next four */
            memcpy(made + k * (FOUR + 1) * each, made + (k * (FOUR + 1) + FOUR) * each, each * sizeof *made);
    }
}
