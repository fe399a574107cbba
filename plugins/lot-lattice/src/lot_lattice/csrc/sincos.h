// Sine and cosine together, the same on every target: reduction to [-pi/4, pi/4], one polynomial each.
//
// Absolute error below 1.3e-7 in float32 (4e-16 in float64) for |x| < 65536, where the reduction is exact enough;
// larger angles are folded into one turn in double precision first. NaN and infinity give NaN. The coefficients are
// minimax (Remez) for (sin r / r - 1) / r^2 and (cos r - 1 + r^2 / 2) / r^4 in r^2.
#pragma once

#include "portable.h"
#if !defined(__CUDACC__)
#include "registers.h"
#endif

namespace lot {
namespace LOT_TARGET {

template <class Real>
struct Circle;

template <>
struct Circle<float> {
  static constexpr float quarters = 0x1.45f306p-1f;  // 2 / pi
  static constexpr float magic = 0x1.8p23f;          // adding it rounds to an integer, kept in the low bits
#if LOT_FUSED
  static constexpr float high = 0x1.921fb6p0f, middle = -0x1.777a5cp-25f, low = 0.0f;  // high + middle + low = pi / 2
#else
  static constexpr float high = 0x1.92p0f, middle = 0x1.fb4p-12f, low = 0x1.4442d2p-24f;  // times n < 8192: exact
#endif
};

template <>
struct Circle<double> {
  static constexpr double quarters = 0x1.45f306dc9c883p-1;
  static constexpr double magic = 0x1.8p52;
  static constexpr double high = 0x1.921fb544p0, middle = 0x1.0b4611a4p-34, low = 0x1.3198a2e037073p-69;
};

template <class V>
LOT_FN void near_zero(V r, V& s, V& c, float) {
  const V z = r * r;
  const V odd = (z * -0x1.98da38p-13f + 0x1.1105b4p-7f) * z - 0x1.555554p-3f;
  const V even = (z * 0x1.9a0232p-16f - 0x1.6c0c8cp-10f) * z + 0x1.55554ap-5f;
  s = (r * z) * odd + r;
  c = (z * z) * even + (z * -0.5f + 1.0f);
}

template <class V>
LOT_FN void near_zero(V r, V& s, V& c, double) {
  const V z = r * r;
  const V odd = ((((z * 1.5888569061361487e-10 - 2.5050599939362257e-08) * z + 2.7557312542783475e-06) * z -
                  1.9841269825928015e-04) *
                     z +
                 8.333333333316473e-03) *
                    z -
                1.6666666666666600e-01;
  const V even = ((((z * -1.1359658867639528e-11 + 2.0875723479442167e-09) * z - 2.755731435379173e-07) * z +
                   2.480158728948702e-05) *
                      z -
                  1.3888888888874131e-03) *
                     z +
                 4.16666666666666e-02;
  s = (r * z) * odd + r;
  c = (z * z) * even + (z * -0.5 + 1.0);
}

// An angle of any size within about one turn of zero: each pass takes 52 bits off, three reach every float32.
LOT_FN double fold(double x) {
  for (int pass = 0; pass < 3; ++pass) {
    const double turns = x * 0x1.45f306dc9c883p-3;
    const double whole =
        (turns > 4503599627370496.0 || turns < -4503599627370496.0) ? turns : (turns + 0x1.8p52) - 0x1.8p52;
    x = (x - whole * 0x1.921fb544p2) - whole * 0x1.0b4611a626331p-32;
  }
  return x;
}
LOT_COLD float folded(float x) { return static_cast<float>(fold(static_cast<double>(x))); }
LOT_COLD double folded(double x) { return fold(x); }
#if !defined(__CUDACC__)
template <class V>
LOT_COLD V folded_each(V x) {
  for (unsigned i = 0; i < sizeof(V) / sizeof(x[0]); ++i) x[i] = any_beyond(x[i], 65536) ? folded(x[i]) : x[i];
  return x;
}
LOT_FN Floats folded(Floats x) { return folded_each(x); }
LOT_FN Doubles folded(Doubles x) { return folded_each(x); }
#endif

template <class V>
struct SineCosine {
  V s, c;
};

// Of a number, or of a vector of them, at angles that the reduction takes.
template <class Real, class V>
LOT_FN SineCosine<V> near(V x) {
  using Bits = typename BitsOf<Real>::type;
  using K = Circle<Real>;
  const V rounded = x * K::quarters + K::magic;
  const V n = rounded - K::magic;  // x / (pi / 2) to the nearest integer
  V r = (x - n * K::high) - n * K::middle;
  if (!LOT_FUSED || sizeof(Real) == 8) r = r - n * K::low;
  V odd, even;
  near_zero(r, odd, even, Real());
  const auto quadrant = bits(rounded);
  const auto swapped = (quadrant & Bits(1)) != 0;
  constexpr int sign = sizeof(Real) * 8 - 2;
  return {real((bits(swapped ? even : odd)) ^ ((quadrant & Bits(2)) << sign)),
          real((bits(swapped ? odd : even)) ^ (((quadrant + Bits(1)) & Bits(2)) << sign))};
}
template <class Real, class V>
LOT_COLD SineCosine<V> far(V x) {
  return near<Real>(folded(x));
}
// The result for small angles is there before its angle is known to be small: a branch ahead of it would be waited for.
template <class Real, class V>
LOT_FN void circle(V x, V& s, V& c) {
  SineCosine<V> found = near<Real>(x);
  if (__builtin_expect(any_beyond(x, Real(65536)), 0)) found = far<Real>(x);
  s = found.s;
  c = found.c;
}
LOT_FN void sincos(float x, float& s, float& c) { circle<float>(x, s, c); }
LOT_FN void sincos(double x, double& s, double& c) { circle<double>(x, s, c); }

}  // namespace LOT_TARGET
}  // namespace lot
