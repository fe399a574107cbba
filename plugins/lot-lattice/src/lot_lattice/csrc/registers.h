// One vector register of the host: what a single number can do, for all numbers in it.
#pragma once

#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "portable.h"

namespace lot {
namespace LOT_TARGET {

#if defined(__AVX512F__)
constexpr int register_bytes = 64;
#elif defined(__AVX2__)
constexpr int register_bytes = 32;
#else
constexpr int register_bytes = 16;
#endif

// The vector types of GCC and Clang bring + - * & ^ << and comparison.
template <class Real>
struct Register;
template <>
struct Register<float> {
  typedef float type __attribute__((vector_size(register_bytes)));
  typedef int32_t mask __attribute__((vector_size(register_bytes)));
};
template <>
struct Register<double> {
  typedef double type __attribute__((vector_size(register_bytes)));
  typedef int64_t mask __attribute__((vector_size(register_bytes)));
};
using Floats = Register<float>::type;
using Doubles = Register<double>::type;

LOT_FN Register<float>::mask bits(Floats x) { return reinterpret_cast<Register<float>::mask>(x); }
LOT_FN Register<double>::mask bits(Doubles x) { return reinterpret_cast<Register<double>::mask>(x); }
LOT_FN Floats real(Register<float>::mask n) { return reinterpret_cast<Floats>(n); }
LOT_FN Doubles real(Register<double>::mask n) { return reinterpret_cast<Doubles>(n); }

LOT_FN bool any_beyond(Floats x, float limit) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(limit), _CMP_GT_OQ) != 0;
#elif defined(__AVX2__)
  const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
  return _mm256_movemask_ps(_mm256_cmp_ps(size, _mm256_set1_ps(limit), _CMP_GT_OQ)) != 0;
#elif defined(__x86_64__)
  return _mm_movemask_ps(_mm_cmpgt_ps(_mm_andnot_ps(_mm_set1_ps(-0.0f), x), _mm_set1_ps(limit))) != 0;
#else
  bool beyond = false;
  for (unsigned i = 0; i < sizeof x / sizeof x[0]; ++i) beyond |= any_beyond(x[i], limit);
  return beyond;
#endif
}
LOT_FN bool any_beyond(Doubles x, double limit) {
  bool beyond = false;
  for (unsigned i = 0; i < sizeof x / sizeof x[0]; ++i) beyond |= any_beyond(x[i], limit);
  return beyond;
}

}  // namespace LOT_TARGET
}  // namespace lot
