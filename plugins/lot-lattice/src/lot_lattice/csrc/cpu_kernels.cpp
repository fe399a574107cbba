// All kernels on the processor. LOT_TARGET names the instruction set, LOT_REAL is the type of numbers; other ones are
// other libraries.
#include "cpu_kernels.h"

#include "batch_team.h"
#include "head_team.h"
#include "host_columns.h"

namespace lot {
namespace LOT_TARGET {
namespace {

template <class Task>
void parallel(const Threads& threads, int64_t count, const Task& task) {
  threads.run(
      count, [](int64_t n, void* context) { (*static_cast<const Task*>(context))(n); },
      const_cast<void*>(static_cast<const void*>(&task)));
}

// Whether sequences share a register, or heads, by the nanoseconds of a step forward and back as measured on one
// machine.
template <class Real>
bool sequences_side_by_side(int64_t batch, int64_t heads, int64_t neighbors, int64_t threads) {
  const int64_t width = Pack<Real, 1>::size, packs = (batch + width - 1) / width,
                registers = (heads + width - 1) / width;
  const int64_t together = (packs + threads - 1) / threads * (45 * heads + 2 * neighbors);
  const int64_t apart = (batch + threads - 1) / threads * (45 + registers * (25 + 3 * heads));
  return together <= apart;
}

// Calls use(tasks, team_of); team_of(arena, n) is the team of task n.
template <class Real, class Arguments, class Use>
void with_teams(const Arguments& a, const Threads& threads, const Use& use) {
  Arena shared;
  const Stencil<Real> stencil(shared, a.heads, a.step, a.coupling, a.weights);
  if (sequences_side_by_side<Real>(a.batch, a.heads, stencil.size(a.heads), threads.number)) {
    constexpr int64_t width = BatchTeam<Real>::width;
    use((a.batch + width - 1) / width,
        [&](Arena& arena, int64_t n) { return BatchTeam<Real>(arena, stencil, a.heads, a.batch, n * width); });
    return;
  }
  const int64_t padded = HeadTeam<Real, 0>::padded(a.heads);
  const DenseCoupling<Real> coupling(shared, a.heads, padded, a.step, a.coupling, a.weights);
  const auto teams = [&](auto lanes) {
    use(a.batch,
        [&](Arena& arena, int64_t n) { return HeadTeam<Real, decltype(lanes)::value>(arena, coupling, a.heads, n); });
  };
  switch (padded / HeadTeam<Real, 0>::width) {
    case 1:
      return teams(Constant<1>());
    case 2:
      return teams(Constant<2>());
    default:
      return teams(Constant<0>());
  }
}

template <class Real>
void run_lattice_forward(const LatticeForward<Real>& a, const Threads& threads) {
  with_teams<Real>(a, threads, [&](int64_t tasks, const auto& team_of) {
    parallel(threads, tasks, [&](int64_t n) {
      Arena arena;
      auto team = team_of(arena, n);
      lattice_forward(team, a);
    });
  });
}

template <class Real>
void run_lattice_backward(const LatticeBackward<Real>& a, const Threads& threads) {
  with_teams<Real>(a, threads, [&](int64_t tasks, const auto& team_of) {
    Arena shared;
    const int64_t size = a.heads * a.heads;
    Real* parts = shared.take<Real>(tasks * size);
    parallel(threads, tasks, [&](int64_t n) {
      Arena arena;
      auto team = team_of(arena, n);
      LatticeBackward<Real> part = a;
      part.sines = parts + n * size;
      lattice_backward(team, part);
    });
    for (int64_t k = 0; k < size; ++k) {  // in this order, whichever thread computed the parts
      double sum = 0;
      for (int64_t n = 0; n < tasks; ++n) sum += parts[n * size + k];
      a.sines[k] = static_cast<Real>(sum);
    }
  });
}

// Several registers of columns keep the processor busy while one chain waits; few columns are better spread over
// threads.
template <class Real, class Arguments, class Use>
void with_columns(const Arguments& a, const Threads& threads, const Use& use) {
  constexpr int several = 4;
  const int64_t registers = HostColumns<Real, 1>::count(a.batch, a.heads, a.oscillators);
  const auto columns = [&](auto together) {
    constexpr int P = decltype(together)::value;
    parallel(threads, (registers + P - 1) / P, [&](int64_t n) {
      Arena arena;
      HostColumns<Real, P> columns(a, n * P);
      use(arena, columns);
    });
  };
  if (registers >= several * threads.number)
    columns(Constant<several>());
  else
    columns(Constant<1>());
}

template <class Real>
void run_mean_field_forward(const MeanFieldForward<Real>& a, const Threads& threads) {
  with_columns<Real>(a, threads, [&](Arena& arena, auto& columns) {
    if (a.causal) {
      HostLoop loop(arena, a.iterations);
      causal_forward(columns, loop, a);
    } else {
      HostColumnTeam team(columns);
      all_forward(team, a);
    }
  });
}

template <class Real>
void run_mean_field_backward(const MeanFieldBackward<Real>& a, const Threads& threads) {
  with_columns<Real>(a, threads, [&](Arena& arena, auto& columns) {
    if (a.causal) {
      HostLoop loop(arena, a.iterations);
      a.segments == 0 ? recorded_backward(columns, arena, a) : causal_backward(columns, loop, a);
    } else {
      HostColumnTeam team(columns);
      all_backward(team, a);
    }
  });
}

}  // namespace

extern const CpuKernels<LOT_REAL> cpu_kernels{&run_lattice_forward<LOT_REAL>, &run_lattice_backward<LOT_REAL>,
                                              &run_mean_field_forward<LOT_REAL>, &run_mean_field_backward<LOT_REAL>};

}  // namespace LOT_TARGET
}  // namespace lot
