// What differs between the compilers of the host and of the device, in one place.
//
// Everything that holds arithmetic lives in the namespace lot::LOT_TARGET. Each instruction set of the host, the
// device and the emulated device define their own LOT_TARGET: the linker then never lets one of them run code that
// was compiled for another.
#pragma once

#include <cstdint>

#ifndef LOT_TARGET
#error "define LOT_TARGET, the namespace of this instruction set"
#endif

// LOT_FN: on the target; LOT_BOTH: also on the side that launches; LOT_COLD: rarely called, and kept out of the way.
#if defined(__CUDACC__)
#define LOT_FN __device__ __forceinline__
#define LOT_BOTH __host__ __device__ __forceinline__
#define LOT_COLD __device__ __noinline__
#define LOT_UNROLL _Pragma("unroll")
#define LOT_NO_UNROLL _Pragma("unroll 1")
#else
#define LOT_FN inline __attribute__((always_inline))
#define LOT_BOTH inline __attribute__((always_inline))
#define LOT_COLD inline __attribute__((noinline, cold))
#define LOT_UNROLL _Pragma("GCC unroll 32")
#define LOT_NO_UNROLL
#endif

// Whether a * b + c is rounded once; decides how many terms reduce an angle exactly.
#if defined(__CUDACC__) || defined(__FMA__) || defined(__aarch64__)
#define LOT_FUSED 1
#else
#define LOT_FUSED 0
#endif

namespace lot {
namespace LOT_TARGET {

template <int N>
struct Constant {
  static constexpr int value = N;
};

LOT_FN int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
LOT_FN int64_t larger(int64_t a, int64_t b) { return a < b ? b : a; }

// Integers as wide as a floating type, and the bits of one as the other.
template <class Real>
struct BitsOf;
template <>
struct BitsOf<float> {
  using type = int32_t;
};
template <>
struct BitsOf<double> {
  using type = int64_t;
};

LOT_FN int32_t bits(float x) {
#if defined(__CUDACC__)
  return __float_as_int(x);
#else
  int32_t n;
  __builtin_memcpy(&n, &x, sizeof n);
  return n;
#endif
}
LOT_FN int64_t bits(double x) {
#if defined(__CUDACC__)
  return __double_as_longlong(x);
#else
  int64_t n;
  __builtin_memcpy(&n, &x, sizeof n);
  return n;
#endif
}
LOT_FN float real(int32_t n) {
#if defined(__CUDACC__)
  return __int_as_float(n);
#else
  float x;
  __builtin_memcpy(&x, &n, sizeof x);
  return x;
#endif
}
LOT_FN double real(int64_t n) {
#if defined(__CUDACC__)
  return __longlong_as_double(n);
#else
  double x;
  __builtin_memcpy(&x, &n, sizeof x);
  return x;
#endif
}
LOT_FN bool any_beyond(float x, float limit) { return x > limit || x < -limit; }
LOT_FN bool any_beyond(double x, double limit) { return x > limit || x < -limit; }

}  // namespace LOT_TARGET
}  // namespace lot
