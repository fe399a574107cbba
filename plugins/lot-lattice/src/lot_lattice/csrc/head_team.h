// A number holds as many heads of one sequence as a register takes: the best layout for few sequences.
#pragma once

#include "arguments.h"
#include "lattice_scan.h"
#include "outer_product.h"

namespace lot {
namespace LOT_TARGET {

// The folded coupling matrix with the heads that feel side by side: in(j) and out(j) are columns of all receivers i.
template <class Real>
class DenseCoupling {
 public:
  DenseCoupling(Arena& arena, int64_t heads, int64_t padded, Real step, const Real* coupling, const Real* weights)
      : padded_(padded), in_(arena.take<Real>(padded * padded)), out_(arena.take<Real>(padded * padded)) {
    for (int64_t j = 0; j < heads; ++j) {
      for (int64_t i = 0; i < heads; ++i) {
        if (i == j && weights[i * heads + i] - weights[i * heads + i] == 0) continue;  // sin(theta_i - theta_i) = 0
        in_[j * padded + i] = step * coupling[i] * weights[i * heads + j];
        out_[j * padded + i] = step * coupling[j] * weights[j * heads + i];
      }
    }
  }
  LOT_FN const Real* in(int64_t j, int64_t i) const { return in_ + j * padded_ + i; }
  LOT_FN const Real* out(int64_t j, int64_t i) const { return out_ + j * padded_ + i; }

 private:
  int64_t padded_;
  Real *in_, *out_;
};

// Lanes: the number of registers that the heads fill, 1 or 2 known to the compiler, or 0 for any number.
template <class Real_, int Lanes>
class HeadTeam {
 public:
  using Real = Real_;
  using Value = Pack<Real, 1>;
  static constexpr int64_t width = Value::size;
  static constexpr int64_t accumulators = 4;  // chains of additions that run side by side; heads are padded to these

  static constexpr int64_t step = width < accumulators ? accumulators : width;

  static int64_t padded(int64_t heads) { return (heads + step - 1) / step * step; }

  HeadTeam(Arena& arena, const DenseCoupling<Real>& coupling, int64_t heads, int64_t sequence)
      : arena_(arena), coupling_(coupling), heads_(heads), sequence_(sequence), padded_(padded(heads)) {
    while (tile_ > width && tile_ * padded_ > 4096) tile_ /= 2;
  }

  template <class F>
  LOT_FN void lanes(F&& f) {
    if constexpr (Lanes > 0) {
      LOT_UNROLL
      for (int lane = 0; lane < Lanes; ++lane) f(lane);
    } else {
      for (int lane = 0; lane < padded_ / width; ++lane) f(lane);
    }
  }
  template <class T, int Count>
  struct Held {
    T value[Count];
    LOT_FN T& operator[](int lane) { return value[lane]; }
  };
  template <class T>
  LOT_FN auto own() {
    if constexpr (Lanes > 0)
      return Held<T, Lanes>();
    else
      return arena_.take<T>(padded_ / width);
  }
  int chunk(int) const { return static_cast<int>(tile_); }

  template <int W>
  class Waves {
   public:
    explicit Waves(HeadTeam& team)
        : padded_(team.padded_), memory_(team.arena_.template take<Real>(2 * W * team.padded_)) {}
    template <class... Values>
    LOT_FN void put(int generation, int64_t lane, const Values&... values) {
      static_assert(sizeof...(Values) == W, "W numbers per lane");
      Real* to = memory_ + generation * W * padded_ + lane * width;
      ((values.store(to), to += padded_), ...);
    }
    LOT_FN const Real* of(int generation) const { return memory_ + generation * W * padded_; }

   private:
    int64_t padded_;
    Real* memory_;
  };
  template <int W>
  Waves<W> waves() {
    return Waves<W>(*this);
  }

  template <int W>
  struct Row {
    const DenseCoupling<Real>* coupling;
    int64_t heads, padded;
    LOT_FN Felt<Value> feel(const Waves<W>& waves, int generation, int lane) const {
      const Real* wave = waves.of(generation);
      Value sum[W][accumulators];
      LOT_UNROLL
      for (int w = 0; w < W; ++w) {
        LOT_UNROLL
        for (int k = 0; k < accumulators; ++k) sum[w][k] = Value(0);
      }
      for (int64_t j = 0; j < heads; j += accumulators) {
        LOT_UNROLL
        for (int k = 0; k < accumulators; ++k) {
          const Value in = Value::load(coupling->in(j + k, lane * width));
          sum[0][k] += in * wave[j + k];
          sum[1][k] += in * wave[padded + j + k];
          if constexpr (W == 4) {
            const Value out = Value::load(coupling->out(j + k, lane * width));
            sum[2][k] += out * wave[2 * padded + j + k];
            sum[3][k] += out * wave[3 * padded + j + k];
          }
        }
      }
      Felt<Value> felt{Value(0), Value(0), Value(0), Value(0)};
      felt.sine = (sum[0][0] + sum[0][1]) + (sum[0][2] + sum[0][3]);
      felt.cosine = (sum[1][0] + sum[1][1]) + (sum[1][2] + sum[1][3]);
      if constexpr (W == 4) {
        felt.by_cosine = (sum[2][0] + sum[2][1]) + (sum[2][2] + sum[2][3]);
        felt.by_sine = (sum[3][0] + sum[3][1]) + (sum[3][2] + sum[3][3]);
      }
      return felt;
    }
  };
  template <int W>
  LOT_FN Row<W> row(Real, const Real*, const Real*, int) const {
    return {&coupling_, heads_, padded_};
  }

  LOT_FN Value of_head(const Real* data, int64_t batch_stride, int lane) const {
    return gather(data + sequence_ * batch_stride, 1, lane);
  }
  void set_head(Real* data, int lane, const Value& value) const {
    Real numbers[width];
    value.store(numbers);
    for (int64_t i = 0; i < smaller(width, heads_ - lane * width); ++i)
      data[sequence_ * heads_ + lane * width + i] = numbers[i];
  }

  // Tiles are (steps, heads).
  class Reader {
   public:
    Reader(HeadTeam& team, const Real* data, Place at)
        : team_(team),
          data_(data + team.sequence_ * at.batch),
          at_(at),
          memory_(team.arena_.template take<Real>(team.tile_ * team.padded_)) {}
    void rise(int64_t first, int64_t last) { load(first, first, last, 0); }
    void fall(int64_t first, int64_t last) { load(first, first, last, 0); }
    LOT_FN Value get(int64_t t, int lane) const {
      return Value::load(memory_ + (t - base_) * team_.padded_ + lane * width);
    }

   protected:
    void load(int64_t base, int64_t from, int64_t last, int64_t shift) {
      const int64_t padded = team_.padded_;
      base_ = base;
      Real* to = memory_ + (from - base) * padded;
      if (at_.time == 1) {
        for (int64_t h = 0; h < padded; h += width) {
          gather_columns(data_ + h * at_.head + (from - shift), at_.head, smaller(width, team_.heads_ - h), last - from,
                         to + h, padded);
        }
      } else {
        for (int64_t t = from; t < last; ++t, to += padded) {
          std::memcpy(to, data_ + (t - shift) * at_.time, static_cast<size_t>(team_.heads_) * sizeof(Real));
        }
      }
    }
    HeadTeam& team_;
    const Real* data_;
    Place at_;
    Real* memory_;
    int64_t base_ = 0;
  };
  Reader reader(const Real* data, Place at) { return Reader(*this, data, at); }

  class History : public Reader {
   public:
    History(HeadTeam& team, const Real* data, Place at, const Real* start, int64_t start_batch)
        : Reader(team, data, at), start_(start), start_batch_(start_batch) {}
    void fall(int64_t first, int64_t last) {
      const int64_t from = smaller(larger(first, 2), last);
      if (from < last) this->load(first, from, last, 2);
      this->base_ = first;
      for (int64_t t = first; t < from; ++t) {
        std::memcpy(this->memory_ + (t - first) * this->team_.padded_, start_ + this->team_.sequence_ * start_batch_,
                    static_cast<size_t>(this->team_.heads_) * sizeof(Real));
      }
    }
    Value at(int64_t t, int lane) const {
      if (t == 0) return this->team_.of_head(start_, start_batch_, lane);
      return this->team_.gather(this->data_ + (t - 1) * this->at_.time, this->at_.head, lane);
    }

   private:
    const Real* start_;
    int64_t start_batch_;
  };
  History history(const Real* data, Place at, const Real* start, int64_t start_batch) {
    return History(*this, data, at, start, start_batch);
  }

  class Writer {
   public:
    Writer(HeadTeam& team, Real* data, Place at)
        : team_(team),
          data_(data + team.sequence_ * at.batch),
          at_(at),
          memory_(team.arena_.template take<Real>(team.tile_ * team.padded_)) {}
    LOT_FN void put(int64_t t, int lane, const Value& value) {
      value.store(memory_ + (t & (team_.tile_ - 1)) * team_.padded_ + lane * width);
    }
    void flush(int64_t first, int64_t last) {
      const int64_t padded = team_.padded_;
      if (at_.time == 1) {
        for (int64_t h = 0; h < padded; h += width) {
          scatter_columns(memory_ + h, padded, smaller(width, team_.heads_ - h), last - first,
                          data_ + h * at_.head + first, at_.head);
        }
      } else {
        for (int64_t t = first; t < last; ++t) {
          std::memcpy(data_ + t * at_.time, memory_ + (t - first) * padded,
                      static_cast<size_t>(team_.heads_) * sizeof(Real));
        }
      }
    }

   private:
    HeadTeam& team_;
    Real* data_;
    Place at_;
    Real* memory_;
  };
  Writer writer(Real* data, Place at) { return Writer(*this, data, at); }

  class Sines {
   public:
    Sines(HeadTeam& team, Real* out)
        : team_(team),
          product_(team.arena_, team.heads_, team.tile_),
          tiles_(team.arena_.template take<Real>(4 * team.tile_ * team.padded_)),
          out_(out) {}
    LOT_FN void record(int64_t t, int lane, const Value& s, const Value& c, const Value& by_c, const Value& by_s) {
      Real* to = tiles_ + (t & (team_.tile_ - 1)) * 4 * team_.padded_ + lane * width;
      s.store(to);
      c.store(to + team_.padded_);
      by_c.store(to + 2 * team_.padded_);
      by_s.store(to + 3 * team_.padded_);
    }
    void absorb(int64_t first, int64_t last) {
      const int64_t steps = last - first, padded = team_.padded_;
      for (int64_t n = 0; n < steps; n += width) {
        const int64_t rows = smaller(width, steps - n);
        const Real* from = tiles_ + n * 4 * padded;
        gather_columns(from, 4 * padded, rows, team_.heads_, product_.sine(0) + n, product_.length());
        gather_columns(from + padded, 4 * padded, rows, team_.heads_, product_.cosine(0) + n, product_.length());
        gather_columns(from + 2 * padded, 4 * padded, rows, team_.heads_, product_.by_cosine(0) + n, product_.length());
        gather_columns(from + 3 * padded, 4 * padded, rows, team_.heads_, product_.by_sine(0) + n, product_.length());
      }
      product_.absorb((steps + width - 1) / width * width);
    }
    void finish(Real step) { product_.finish(step, out_); }

   private:
    HeadTeam& team_;
    OuterProduct<Real> product_;
    Real* tiles_;
    Real* out_;
  };
  Sines sines(Real* out) { return Sines(*this, out); }

 private:
  LOT_FN Value gather(const Real* data, int64_t stride, int lane) const {
    Real numbers[width] = {};
    for (int64_t i = 0; i < smaller(width, heads_ - lane * width); ++i) numbers[i] = data[(lane * width + i) * stride];
    return Value::load(numbers);
  }

  Arena& arena_;
  const DenseCoupling<Real>& coupling_;
  int64_t heads_, sequence_, padded_;
  int64_t tile_ = 128;  // steps that are loaded together, a power of two and a multiple of the width
};

}  // namespace LOT_TARGET
}  // namespace lot
