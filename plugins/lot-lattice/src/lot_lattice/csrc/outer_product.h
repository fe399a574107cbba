// sum over n of a_i(n) s_j(n) - b_i(n) c_j(n), for all pairs of heads: how often a force met a sine.
#pragma once

#include "host_memory.h"
#include "running_sum.h"

namespace lot {
namespace LOT_TARGET {

// Four (heads, length) arrays that are filled and added up, piece by piece. Pairs of heads are worked off in blocks
// whose sums fit into the registers.
template <class Real>
class OuterProduct {
 public:
  using V = Pack<Real, 1>;
  static constexpr int tall = register_bytes == 64 ? 4 : 2, wide = 4, block = tall * wide;

  OuterProduct(Arena& arena, int64_t heads, int64_t length)
      : heads_(heads),
        length_(length),
        down_((heads + tall - 1) / tall),
        across_((heads + wide - 1) / wide),
        recent_(arena.take<Real>(down_ * across_ * block)),
        sums_(arena.take<double>(down_ * across_ * block)) {
    const int64_t padded = larger(down_ * tall, across_ * wide);  // rows of zeros, so that every block is whole
    for (Real*& rows : rows_) rows = arena.take<Real>(padded * length);
  }
  Real* sine(int64_t head) { return rows_[0] + head * length_; }
  Real* cosine(int64_t head) { return rows_[1] + head * length_; }
  Real* by_cosine(int64_t head) { return rows_[2] + head * length_; }
  Real* by_sine(int64_t head) { return rows_[3] + head * length_; }
  int64_t length() const { return length_; }

  // The first `count` numbers of each row, a multiple of the register's width.
  void absorb(int64_t count) {
    for (int64_t i = 0; i < down_; ++i) {
      for (int64_t j = 0; j < across_; ++j) add(i * tall, j * wide, count, recent_ + (i * across_ + j) * block);
    }
    if (++pieces_ % fold_every == 0) fold();
  }
  void finish(Real scale, Real* out) {
    fold();
    for (int64_t i = 0; i < heads_; ++i) {
      for (int64_t j = 0; j < heads_; ++j) {
        const double sum = sums_[(i / tall * across_ + j / wide) * block + i % tall * wide + j % wide];
        out[i * heads_ + j] =
            i == j && sum - sum == 0 ? 0 : static_cast<Real>(scale * sum);  // a head meets itself at 0
      }
    }
  }

 private:
  void add(int64_t i0, int64_t j0, int64_t count, Real* recent) {
    using Vector = typename V::Vector;
    Vector sum[block];
    LOT_UNROLL
    for (int k = 0; k < block; ++k) sum[k] = Vector{};
    for (int64_t n = 0; n < count; n += V::size) {
      Vector a[tall], b[tall];
      LOT_UNROLL
      for (int i = 0; i < tall; ++i) {
        a[i] = V::load(by_cosine(i0 + i) + n).part[0];
        b[i] = V::load(by_sine(i0 + i) + n).part[0];
      }
      LOT_UNROLL
      for (int j = 0; j < wide; ++j) {
        const Vector s = V::load(sine(j0 + j) + n).part[0], c = V::load(cosine(j0 + j) + n).part[0];
        LOT_UNROLL
        for (int i = 0; i < tall; ++i) {
          sum[i * wide + j] = (sum[i * wide + j] + a[i] * s) - b[i] * c;
        }
      }
    }
    // Sums across a register, a register full of them at a time: transposed, they add up side by side.
    LOT_UNROLL
    for (int k = 0; k < block; k += V::size) {
      transpose<Real>(sum + k);
      V total = V::load(recent + k);
      LOT_UNROLL
      for (int m = 0; m < V::size; ++m) total.part[0] += sum[k + m];
      total.store(recent + k);
    }
  }
  void fold() {
    for (int64_t k = 0; k < down_ * across_ * block; ++k) {
      sums_[k] += recent_[k];
      recent_[k] = 0;
    }
  }

  int64_t heads_, length_, down_, across_, pieces_ = 0;
  Real* recent_;
  double* sums_;
  Real* rows_[4];
};

}  // namespace LOT_TARGET
}  // namespace lot
