// A lane is a head and a number holds as many sequences as a register takes: the best layout for many sequences.
#pragma once

#include "arguments.h"
#include "lattice_scan.h"
#include "outer_product.h"

namespace lot {
namespace LOT_TARGET {

// Who is coupled to whom: the entries of the folded coupling matrix where it or its transpose is not zero.
template <class Real>
class Stencil {
 public:
  struct Neighbor {
    int64_t head;
    Real in, out;
  };
  Stencil(Arena& arena, int64_t heads, Real step, const Real* coupling, const Real* weights)
      : first_(arena.take<int64_t>(heads + 1)), neighbors_(arena.take<Neighbor>(heads * heads)) {
    int64_t n = 0;
    for (int64_t i = 0; i < heads; ++i) {
      for (int64_t j = 0; j < heads; ++j) {
        const Real in = weights[i * heads + j], out = weights[j * heads + i];
        if (i == j && in - in == 0) continue;  // sin(theta_i - theta_i) = 0; only what is not finite may pass
        if (in != 0 || out != 0) neighbors_[n++] = {j, step * coupling[i] * in, step * coupling[j] * out};
      }
      first_[i + 1] = n;
    }
  }
  const Neighbor* begin(int64_t head) const { return neighbors_ + first_[head]; }
  const Neighbor* end(int64_t head) const { return neighbors_ + first_[head + 1]; }
  int64_t size(int64_t heads) const { return first_[heads]; }

 private:
  int64_t* first_;
  Neighbor* neighbors_;
};

template <class Real_>
class BatchTeam {
 public:
  using Real = Real_;
  using Value = Pack<Real, 1>;
  static constexpr int64_t width = Value::size;
  static constexpr int tile = 16;  // steps that are transposed together; a multiple of the width

  BatchTeam(Arena& arena, const Stencil<Real>& stencil, int64_t heads, int64_t batch, int64_t first)
      : arena_(arena), stencil_(stencil), heads_(heads), first_(first), count_(smaller(width, batch - first)) {}

  template <class F>
  LOT_FN void lanes(F&& f) {
    for (int64_t head = 0; head < heads_; ++head) f(static_cast<int>(head));
  }
  template <class T>
  T* own() {
    return arena_.take<T>(heads_);
  }
  int chunk(int) const { return tile; }

  template <int W>
  class Waves {
   public:
    explicit Waves(BatchTeam& team) : heads_(team.heads_), memory_(team.arena_.template take<Value>(2 * heads_ * W)) {}
    template <class... Values>
    LOT_FN void put(int generation, int64_t lane, Values... values) {
      static_assert(sizeof...(Values) == W, "W numbers per lane");
      Value* to = memory_ + (generation * heads_ + lane) * W;
      ((*to++ = values), ...);
    }
    LOT_FN const Value* of(int generation, int64_t head) const { return memory_ + (generation * heads_ + head) * W; }

   private:
    int64_t heads_;
    Value* memory_;
  };
  template <int W>
  Waves<W> waves() {
    return Waves<W>(*this);
  }

  template <int W>
  struct Row {
    const typename Stencil<Real>::Neighbor *begin, *end;
    LOT_FN Felt<Value> feel(const Waves<W>& waves, int generation, int) const {
      Felt<Value> felt{Value(0), Value(0), Value(0), Value(0)};
      for (const auto* j = begin; j != end; ++j) {
        const Value* wave = waves.of(generation, j->head);
        felt.sine += wave[0] * j->in;
        felt.cosine += wave[1] * j->in;
        if constexpr (W == 4) {
          felt.by_cosine += wave[2] * j->out;
          felt.by_sine += wave[3] * j->out;
        }
      }
      return felt;
    }
  };
  template <int W>
  Row<W> row(Real, const Real*, const Real*, int lane) const {
    return {stencil_.begin(lane), stencil_.end(lane)};
  }

  Value of_head(const Real* data, int64_t batch_stride, int64_t head) const {
    return gather(data + head, batch_stride);
  }
  void set_head(Real* data, int64_t head, const Value& value) const {
    Real numbers[width];
    value.store(numbers);
    for (int64_t b = 0; b < count_; ++b) data[(first_ + b) * heads_ + head] = numbers[b];
  }

  // Tiles are (heads, steps, sequences): each head's steps and sequences are one row of the outer product.
  class Reader {
   public:
    Reader(BatchTeam& team, const Real* data, Place at)
        : team_(team),
          data_(data + team.first_ * at.batch),
          at_(at),
          memory_(team.arena_.template take<Real>(team.heads_ * tile * width)) {}
    void rise(int64_t first, int64_t last) { load(first, first, last, 0); }
    void fall(int64_t first, int64_t last) { load(first, first, last, 0); }
    LOT_FN Value get(int64_t t, int64_t lane) const {
      return Value::load(memory_ + (lane * tile + (t - base_)) * width);
    }

   protected:
    // Steps from..last of a tile that begins at step `base`, read `shift` steps earlier.
    void load(int64_t base, int64_t from, int64_t last, int64_t shift) {
      base_ = base;
      Real* to = memory_ + (from - base) * width;
      if (at_.time == 1) {
        for (int64_t h = 0; h < team_.heads_; ++h) {
          gather_columns(data_ + h * at_.head + (from - shift), at_.batch, team_.count_, last - from,
                         to + h * tile * width, width);
        }
      } else {
        for (int64_t t = from; t < last; ++t, to += width) {
          gather_columns(data_ + (t - shift) * at_.time, at_.batch, team_.count_, team_.heads_, to, tile * width);
        }
      }
    }
    BatchTeam& team_;
    const Real* data_;
    Place at_;
    Real* memory_;
    int64_t base_ = 0;
  };
  Reader reader(const Real* data, Place at) { return Reader(*this, data, at); }

  // Phases before a step: `at(t)` before step t, `get(t)` before step t - 1.
  class History : public Reader {
   public:
    History(BatchTeam& team, const Real* data, Place at, const Real* start, int64_t start_batch)
        : Reader(team, data, at), start_(start), start_batch_(start_batch), whole_(data) {}
    void fall(int64_t first, int64_t last) {
      const int64_t from = smaller(larger(first, 2), last);
      if (from < last) this->load(first, from, last, 2);
      this->base_ = first;
      for (int64_t t = first; t < from; ++t) {
        for (int64_t h = 0; h < this->team_.heads_; ++h) {
          this->team_.of_head(start_, start_batch_, h).store(this->memory_ + (h * tile + (t - first)) * width);
        }
      }
    }
    Value at(int64_t t, int64_t head) const {
      if (t == 0) return this->team_.of_head(start_, start_batch_, head);
      return this->team_.gather(whole_ + (t - 1) * this->at_.time + head * this->at_.head, this->at_.batch);
    }

   private:
    const Real* start_;
    int64_t start_batch_;
    const Real* whole_;
  };
  History history(const Real* data, Place at, const Real* start, int64_t start_batch) {
    return History(*this, data, at, start, start_batch);
  }

  class Writer {
   public:
    Writer(BatchTeam& team, Real* data, Place at)
        : team_(team),
          data_(data + team.first_ * at.batch),
          at_(at),
          memory_(team.arena_.template take<Real>(team.heads_ * tile * width)) {}
    LOT_FN void put(int64_t t, int64_t lane, const Value& value) {
      value.store(memory_ + (lane * tile + t % tile) * width);
    }
    void flush(int64_t first, int64_t last) {
      if (at_.time == 1) {
        for (int64_t h = 0; h < team_.heads_; ++h) {
          scatter_columns(memory_ + h * tile * width, width, team_.count_, last - first, data_ + h * at_.head + first,
                          at_.batch);
        }
      } else {
        for (int64_t t = first; t < last; ++t) {
          scatter_columns(memory_ + (t - first) * width, tile * width, team_.count_, team_.heads_, data_ + t * at_.time,
                          at_.batch);
        }
      }
    }

   private:
    BatchTeam& team_;
    Real* data_;
    Place at_;
    Real* memory_;
  };
  Writer writer(Real* data, Place at) { return Writer(*this, data, at); }

  class Sines {
   public:
    Sines(BatchTeam& team, Real* out) : product_(team.arena_, team.heads_, tile * width), out_(out) {}
    LOT_FN void record(int64_t t, int64_t head, const Value& s, const Value& c, const Value& by_c, const Value& by_s) {
      const int64_t n = (t % tile) * width;
      s.store(product_.sine(head) + n);
      c.store(product_.cosine(head) + n);
      by_c.store(product_.by_cosine(head) + n);
      by_s.store(product_.by_sine(head) + n);
    }
    void absorb(int64_t first, int64_t last) { product_.absorb((last - first) * width); }
    void finish(Real step) { product_.finish(step, out_); }

   private:
    OuterProduct<Real> product_;
    Real* out_;
  };
  Sines sines(Real* out) { return Sines(*this, out); }

 private:
  Value gather(const Real* data, int64_t batch_stride) const {
    Real numbers[width] = {};
    for (int64_t b = 0; b < count_; ++b) numbers[b] = data[(first_ + b) * batch_stride];
    return Value::load(numbers);
  }

  Arena& arena_;
  const Stencil<Real>& stencil_;
  int64_t heads_, first_, count_;
};

}  // namespace LOT_TARGET
}  // namespace lot
