// N numbers side by side in the vector registers of the host, with the operators of a single number.
#pragma once

#include "sincos.h"

namespace lot {
namespace LOT_TARGET {

// P registers; P > 1 gives the processor independent work while one chain waits.
template <class Real_, int P>
struct Pack {
  using Real = Real_;
  using Vector = typename Register<Real>::type;
  static constexpr int width = register_bytes / static_cast<int>(sizeof(Real));  // numbers in a register
  static constexpr int size = P * width;
  Vector part[P];

  LOT_FN Pack() {}
  LOT_FN Pack(Real x) {
    LOT_UNROLL
    for (int p = 0; p < P; ++p) part[p] = x - Vector{};  // folds to a broadcast, keeps the sign of zero
  }
  LOT_FN static Pack load(const Real* data) {
    Pack out;
    __builtin_memcpy(out.part, data, sizeof out.part);
    return out;
  }
  LOT_FN void store(Real* data) const { __builtin_memcpy(data, part, sizeof part); }

#define LOT_OPERATOR(op)                                                         \
  LOT_FN friend Pack operator op(const Pack& a, const Pack& b) {                 \
    Pack out;                                                                    \
    LOT_UNROLL                                                                   \
    for (int p = 0; p < P; ++p) out.part[p] = a.part[p] op b.part[p];            \
    return out;                                                                  \
  }                                                                              \
  LOT_FN friend Pack operator op(const Pack& a, Real b) { return a op Pack(b); } \
  LOT_FN friend Pack operator op(Real a, const Pack& b) { return Pack(a) op b; } \
  LOT_FN friend Pack& operator op## = (Pack & a, const Pack& b) { return a = a op b; }
  LOT_OPERATOR(+)
  LOT_OPERATOR(-)
  LOT_OPERATOR(*)
#undef LOT_OPERATOR
};

template <class Real, int P>
LOT_FN void sincos(const Pack<Real, P>& x, Pack<Real, P>& s, Pack<Real, P>& c) {
  LOT_UNROLL
  for (int p = 0; p < P; ++p) circle<Real>(x.part[p], s.part[p], c.part[p]);
}

}  // namespace LOT_TARGET
}  // namespace lot
