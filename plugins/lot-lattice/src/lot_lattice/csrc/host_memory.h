// Scratch memory of a task on the host, and the transposition of small blocks.
#pragma once

#include <cstdlib>
#include <cstring>
#include <new>

#include "pack.h"

namespace lot {
namespace LOT_TARGET {

// Aligned memory, all of it given back together.
class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() {
    while (newest_ != nullptr) {
      Header* older = newest_->older;
      std::free(newest_);
      newest_ = older;
    }
  }
  // `count` values of T, all bits zero.
  template <class T>
  T* take(int64_t count) {
    T* memory = untouched<T>(count);
    std::memset(static_cast<void*>(memory), 0, static_cast<size_t>(count) * sizeof(T));
    return memory;
  }
  // `count` values of T, not set.
  template <class T>
  T* untouched(int64_t count) {
    const size_t size = (static_cast<size_t>(count) * sizeof(T) + 2 * alignment - 1) / alignment * alignment;
    void* memory = std::aligned_alloc(alignment, size);
    if (memory == nullptr) throw std::bad_alloc();
    Header* header = static_cast<Header*>(memory);
    header->older = newest_;
    newest_ = header;
    return reinterpret_cast<T*>(static_cast<char*>(memory) + alignment);
  }

 private:
  static constexpr size_t alignment = 64;
  struct Header {
    Header* older;
  };
  Header* newest_ = nullptr;
};

// r[i][j] <-> r[j][i] inside registers: halves of 2, 4, ... elements change places, log2(width) times.
template <class Real>
LOT_FN void transpose(typename Register<Real>::type* r) {
  using Vector = typename Register<Real>::type;
  using Mask = typename Register<Real>::mask;
  constexpr int width = register_bytes / static_cast<int>(sizeof(Real));
  LOT_UNROLL
  for (int half = 1; half < width; half *= 2) {
    Mask low, high;
    LOT_UNROLL
    for (int i = 0; i < width; ++i) {
      low[i] = (i & half) ? i - half + width : i;
      high[i] = (i & half) ? i + width : i + half;
    }
    LOT_UNROLL
    for (int i = 0; i < width; ++i) {
      if (i & half) continue;
      const Vector a = r[i], b = r[i + half];
#if defined(__clang__)
      Vector x, y;
      for (int e = 0; e < width; ++e) {
        x[e] = low[e] < width ? a[low[e]] : b[low[e] - width];
        y[e] = high[e] < width ? a[high[e]] : b[high[e] - width];
      }
      r[i] = x;
      r[i + half] = y;
#else
      r[i] = __builtin_shuffle(a, b, low);
      r[i + half] = __builtin_shuffle(a, b, high);
#endif
    }
  }
}

// out[column * out_stride + row] = in[row * in_stride + column]; at most width rows. Rows from `rows` to width are
// zero.
template <class Real>
inline void gather_columns(const Real* in, int64_t in_stride, int64_t rows, int64_t columns, Real* out,
                           int64_t out_stride) {
  using Vector = typename Register<Real>::type;
  constexpr int width = register_bytes / static_cast<int>(sizeof(Real));
  int64_t column = 0;
  if (rows == width) {
    for (; column + width <= columns; column += width) {
      Vector r[width];
      LOT_UNROLL
      for (int i = 0; i < width; ++i) std::memcpy(&r[i], in + i * in_stride + column, sizeof(Vector));
      transpose<Real>(r);
      LOT_UNROLL
      for (int i = 0; i < width; ++i) std::memcpy(out + (column + i) * out_stride, &r[i], sizeof(Vector));
    }
  }
  for (; column < columns; ++column) {
    Real* to = out + column * out_stride;
    for (int64_t row = 0; row < rows; ++row) to[row] = in[row * in_stride + column];
    for (int64_t row = rows; row < width; ++row) to[row] = 0;
  }
}

// The way back: out[row * out_stride + column] = in[column * in_stride + row].
template <class Real>
inline void scatter_columns(const Real* in, int64_t in_stride, int64_t rows, int64_t columns, Real* out,
                            int64_t out_stride) {
  using Vector = typename Register<Real>::type;
  constexpr int width = register_bytes / static_cast<int>(sizeof(Real));
  int64_t column = 0;
  if (rows == width) {
    for (; column + width <= columns; column += width) {
      Vector r[width];
      LOT_UNROLL
      for (int i = 0; i < width; ++i) std::memcpy(&r[i], in + (column + i) * in_stride, sizeof(Vector));
      transpose<Real>(r);
      LOT_UNROLL
      for (int i = 0; i < width; ++i) std::memcpy(out + i * out_stride + column, &r[i], sizeof(Vector));
    }
  }
  for (; column < columns; ++column) {
    for (int64_t row = 0; row < rows; ++row) out[row * out_stride + column] = in[column * in_stride + row];
  }
}

}  // namespace LOT_TARGET
}  // namespace lot
