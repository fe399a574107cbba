// Sums over many steps that stay accurate in float32.
#pragma once

#include "portable.h"

namespace lot {
namespace LOT_TARGET {

constexpr int64_t fold_every = 64;  // additions after which a sum is folded

// A sum of many numbers in two parts: what is added meets numbers of its own size, and folding loses nothing.
template <class V>
struct RunningSum {
  V base, recent;
  LOT_FN void clear() { base = recent = V(0); }
  LOT_FN void add(const V& x) { recent = recent + x; }
  LOT_FN V total() const { return base + recent; }
  LOT_FN void fold() {
    const V sum = base + recent;
    recent = recent - (sum - base);
    base = sum;
  }
};

}  // namespace LOT_TARGET
}  // namespace lot
