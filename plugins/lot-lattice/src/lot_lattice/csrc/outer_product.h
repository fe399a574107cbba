// sum over n of a_i(n) s_j(n) - b_i(n) c_j(n), for all pairs of heads: how often a force met a sine.
#pragma once

#include "host_memory.h"

namespace lot {
namespace LOT_TARGET {

// Rows of `sines`, and of four (heads, length) arrays that are filled, `length` apart, and added up piece by piece.
template <class Real> class OuterProduct {
 public:
  using V = Pack<Real, 1>;
  static constexpr int tall = register_bytes == 64 ? 4 : 2, wide = 4;  // what fits into the registers

  OuterProduct(Arena& arena, int64_t heads, int64_t length)
      : heads_(heads), length_(length), sums_(arena.take<double>(heads * heads)) {
    const int64_t padded = (heads + wide - 1) / wide * wide;  // rows of zeros, so that every block is whole
    for (Real*& rows : rows_) rows = arena.take<Real>(padded * length);
  }
  Real* sine(int64_t head) { return rows_[0] + head * length_; }
  Real* cosine(int64_t head) { return rows_[1] + head * length_; }
  Real* by_cosine(int64_t head) { return rows_[2] + head * length_; }
  Real* by_sine(int64_t head) { return rows_[3] + head * length_; }
  int64_t length() const { return length_; }

  // The first `count` numbers of each row, a multiple of the register's width.
  void absorb(int64_t count) {
    for (int64_t i = 0; i < heads_; i += tall) {
      for (int64_t j = 0; j < heads_; j += wide) block(i, j, count);
    }
  }
  void finish(Real scale, Real* out) const {
    for (int64_t i = 0; i < heads_; ++i) {
      for (int64_t j = 0; j < heads_; ++j) {
        const double sum = sums_[i * heads_ + j];
        out[i * heads_ + j] = i == j && sum - sum == 0 ? 0 : static_cast<Real>(scale * sum);  // a head meets itself at 0
      }
    }
  }

 private:
  void block(int64_t i0, int64_t j0, int64_t count) {
    V sum[tall][wide];
    LOT_UNROLL for (int i = 0; i < tall; ++i) {
      LOT_UNROLL for (int j = 0; j < wide; ++j) sum[i][j] = V(0);
    }
    for (int64_t n = 0; n < count; n += V::size) {
      V a[tall], b[tall];
      LOT_UNROLL for (int i = 0; i < tall; ++i) {
        a[i] = V::load(by_cosine(i0 + i) + n);
        b[i] = V::load(by_sine(i0 + i) + n);
      }
      LOT_UNROLL for (int j = 0; j < wide; ++j) {
        const V s = V::load(sine(j0 + j) + n), c = V::load(cosine(j0 + j) + n);
        LOT_UNROLL for (int i = 0; i < tall; ++i) sum[i][j] = (sum[i][j] + a[i] * s) - b[i] * c;
      }
    }
    LOT_UNROLL for (int i = 0; i < tall; ++i) {
      LOT_UNROLL for (int j = 0; j < wide; ++j) {
        if (i0 + i < heads_ && j0 + j < heads_) sums_[(i0 + i) * heads_ + j0 + j] += sum[i][j].sum();
      }
    }
  }

  int64_t heads_, length_;
  double* sums_;
  Real* rows_[4];
};

}  // namespace LOT_TARGET
}  // namespace lot
