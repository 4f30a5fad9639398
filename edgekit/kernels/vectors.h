/* Vectors of floats, for every processor that the kernels know. */
#include <string.h>

/* Floats of a vector; how many vectors of pixels have their sums in registers; and how many strips of MANY outputs for two stretches of
 * single pixels. */
#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define WIDE 6
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
#define STRIPS 1
#define STRETCH 1
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
_Static_assert(TILE >= 2 * LANES && STRETCH <= LANES, "packed taps lie TILE apart");

