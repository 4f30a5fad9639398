/* Vectors of floats, for every processor that the kernels know. */
#include <stdint.h>
#include <string.h>

/* Floats of a vector; how many vectors of pixels have their sums in registers; and how many strips of MANY outputs for two stretches of
 * single pixels. */
#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define WIDE 6
#define TWICE 3 /* vectors of pixels for twice as many outputs; 0 where registers are too few */
#define STRIPS 2
#define STRETCH 7
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
#define TWICE 0
#define STRIPS 1
#define STRETCH 3
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
#define TWICE 0
#define STRIPS 1
#define STRETCH 3
typedef float32x4_t vec;
#define LOAD(p) vld1q_f32(p)
#define STORE(p, v) vst1q_f32(p, v)
#define ALL(x) vdupq_n_f32(x)
#define MAX(a, b) vmaxq_f32(a, b)
#define MIN(a, b) vminq_f32(a, b)
#else
#define LANES 4
#define WIDE 3
#define TWICE 0
#define STRIPS 1
#define STRETCH 1
typedef float vec __attribute__((vector_size(16)));
static inline vec LOAD(const float *p) { vec v; memcpy(&v, p, sizeof v); return v; }
static inline void STORE(float *p, vec v) { memcpy(p, &v, sizeof v); }
static inline vec ALL(float x) { return (vec){x, x, x, x}; }
static inline vec MAX(vec a, vec b) { for (int i = 0; i < 4; i++) if (!(a[i] > b[i])) a[i] = b[i]; return a; }
static inline vec MIN(vec a, vec b) { for (int i = 0; i < 4; i++) if (!(a[i] < b[i])) a[i] = b[i]; return a; }
#endif

/* Weights of four bytes; and of two, whole numbers. */
typedef float whole;
typedef int16_t half;
#define LOAD_whole(p) LOAD(p)
#if defined(__AVX512F__)
#define LOAD_half(p) _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)(p))))
#elif defined(__AVX2__)
#define LOAD_half(p) _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(p))))
#elif defined(__ARM_NEON)
#define LOAD_half(p) vcvtq_f32_s32(vmovl_s16(vld1_s16(p)))
#else
static inline vec LOAD_half(const half *p) {
    float found[LANES];
    for (int i = 0; i < LANES; i++) found[i] = p[i];
    return LOAD(found);
}
#endif

/* Have a vector in a register: compilers would rather load it once more for every product, which its unaligned loads make slow. */
#if defined(__AVX512F__)
#define KEEP(v) __asm__("" : "+v"(v))
#elif defined(__AVX2__)
#define KEEP(v) __asm__("" : "+x"(v))
#else
#define KEEP(v) ((void)0)
#endif

/* Every second number of `count` pairs, and those between. */
static inline void halve(const float *restrict from, int count, float *restrict even, float *restrict odd) {
    int q = 0;
#if defined(__AVX512F__)
    const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odds = _mm512_add_epi32(evens, _mm512_set1_epi32(1));
    for (; q + LANES <= count; q += LANES) {
        vec low = LOAD(from + 2 * q), high = LOAD(from + 2 * q + LANES);
        STORE(even + q, _mm512_permutex2var_ps(low, evens, high));
        STORE(odd + q, _mm512_permutex2var_ps(low, odds, high));
    }
#endif
    for (; q < count; q++) even[q] = from[2 * q], odd[q] = from[2 * q + 1];
}

#define TILE (WIDE * LANES)
/* Outputs whose weights are held together, of edgekit/program.py: with few of them a vector is of pixels, with many of outputs. */
#define FEW 4
#define MANY 16
_Static_assert(TILE >= 2 * LANES && STRETCH <= LANES, "packed taps lie TILE apart");

/* Whole numbers beside the floats, numbers from anywhere, and the first few of a vector. */
typedef int32_t ivec __attribute__((vector_size(LANES * 4)));
static inline ivec LOAD_INTS(const int *p) { ivec v; memcpy(&v, p, sizeof v); return v; }

#if defined(__AVX512F__)
static inline vec GATHER(const float *p, ivec at) { return _mm512_i32gather_ps((__m512i)at, p, 4); }
static inline vec LOAD_SOME(const float *p, int n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
static inline void STORE_SOME(float *p, vec v, int n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v); }
#else
static inline vec GATHER(const float *p, ivec at) {
    float found[LANES];
    for (int i = 0; i < LANES; i++) found[i] = p[at[i]];
    return LOAD(found);
}
static inline vec LOAD_SOME(const float *p, int n) {
    float some[LANES] = {0};
    for (int i = 0; i < n; i++) some[i] = p[i];
    return LOAD(some);
}
static inline void STORE_SOME(float *p, vec v, int n) {
    float some[LANES];
    STORE(some, v);
    for (int i = 0; i < n; i++) p[i] = some[i];
}
#endif

static inline vec ABS(vec v) { return (vec)((ivec)v & 0x7fffffff); }

/* e^v for v <= 0, to 2e-7 of it; what lies below -87 counts as that. 2^n of the nearest whole n, times a polynomial of the rest. */
static inline vec EXP(vec v) {
    v = MAX(v, ALL(-87));
    vec shifted = v * ALL(1.44269504f) + ALL(12582912); /* 1.5 * 2^23: its last bits are n */
    vec n = shifted - ALL(12582912);
    vec rest = v - n * ALL(0.693145752f) - n * ALL(1.42860677e-6f);
    vec power = ALL(1.98756915e-4f);
    power = power * rest + ALL(1.39819995e-3f);
    power = power * rest + ALL(8.33345190e-3f);
    power = power * rest + ALL(4.16657962e-2f);
    power = power * rest + ALL(1.66666655e-1f);
    power = power * rest + ALL(0.5f);
    power = power * rest * rest + rest + ALL(1);
    return (vec)((ivec)power + ((ivec)shifted << 23));
}

/* Pixels of MANY outputs each, `apart` from one another, into the outputs' planes: `number` stretches of `wide` pixels, which are MANY at
 * most together, `jump` from each other, of which `shown` are written. */
static inline void into_planes(const float *found, long apart, int outputs, float *arena, const int *planes, long at, int number,
                               int wide, int shown, long jump) {
#if defined(__AVX512F__)
    __m512 row[MANY], half[MANY];
    int pixels = number * wide;
    for (int p = 0; p < MANY; p++) row[p] = p < pixels ? LOAD(found + p * apart) : ALL(0);
    for (int p = 0; p < MANY; p += 2) {
        half[p] = _mm512_unpacklo_ps(row[p], row[p + 1]);
        half[p + 1] = _mm512_unpackhi_ps(row[p], row[p + 1]);
    }
    for (int p = 0; p < MANY; p += 4)
        for (int i = 0; i < 2; i++) {
            row[p + 2 * i] = _mm512_shuffle_ps(half[p + i], half[p + i + 2], 0x44);
            row[p + 2 * i + 1] = _mm512_shuffle_ps(half[p + i], half[p + i + 2], 0xee);
        }
    /* row[4 i + j] has outputs j, j + 4, j + 8, j + 12 of pixels 4 i to 4 i + 3, quarter by quarter. */
    for (int j = 0; j < 4; j++) {
        __m512 low = _mm512_shuffle_f32x4(row[j], row[4 + j], 0x88), high = _mm512_shuffle_f32x4(row[8 + j], row[12 + j], 0x88);
        half[j] = _mm512_shuffle_f32x4(low, high, 0x88);
        half[8 + j] = _mm512_shuffle_f32x4(low, high, 0xdd);
        low = _mm512_shuffle_f32x4(row[j], row[4 + j], 0xdd), high = _mm512_shuffle_f32x4(row[8 + j], row[12 + j], 0xdd);
        half[4 + j] = _mm512_shuffle_f32x4(low, high, 0x88);
        half[12 + j] = _mm512_shuffle_f32x4(low, high, 0xdd);
    }
    const __mmask16 first = (__mmask16)((1u << shown) - 1);
    _Pragma("GCC unroll 16") for (int o = 0; o < MANY; o++)
        if (o < outputs)
            for (int n = 0; n < number; n++)
                _mm512_mask_storeu_ps(arena + planes[o] + at + n * (jump - wide), (__mmask16)(first << n * wide), half[o]);
#else
    for (int o = 0; o < outputs; o++)
        for (int n = 0; n < number; n++)
            for (int x = 0; x < shown; x++) arena[planes[o] + at + n * jump + x] = found[(n * wide + x) * apart + o];
#endif
}
