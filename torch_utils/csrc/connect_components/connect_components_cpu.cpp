// `connect_components` on the CPU: a task owns one sample. Parts by flooding, then Prim's tree over them by Dijkstra's search from
// all that is joined, then the least edit on that tree. Orders and sums are those of the reference, so results are too.
#include <cmath>
#include <functional>
#include <limits>
#include <queue>
#include <utility>

#include "common/cpu.h"

namespace tetragan {

namespace {

// Neighbors of vertex v: ids[first[v] … first[v + 1] − 1], in the order of the edges.
struct Neighbors {
  std::vector<int32_t> first, ids;

  Neighbors(const int32_t* edges, int64_t edge_count, int64_t vertex_count) : first(vertex_count + 1, 0), ids(2 * edge_count) {
    for (int64_t e = 0; e < 2 * edge_count; ++e) ++first[edges[e] + 1];
    for (int64_t v = 0; v < vertex_count; ++v) first[v + 1] += first[v];
    std::vector<int32_t> next(first.begin(), first.end() - 1);
    for (int64_t e = 0; e < edge_count; ++e) {
      const int32_t a = edges[2 * e], b = edges[2 * e + 1];
      ids[next[a]++] = b;
      ids[next[b]++] = a;
    }
  }
};

// Vertices members[begin, end), found together; weight is the sum of −SDF over them.
struct Part {
  int64_t begin, end;
  double weight;
  bool joined = false, kept = false;
  int32_t parent = -1;
  double cost = 0;
  std::vector<int32_t> bridge;
};

template <class T>
class Sample {
 public:
  Sample(const T* sdf, int64_t count, const Neighbors& neighbors, const bool* blocked, double step)
      : sdf_(sdf), count_(count), neighbors_(neighbors), blocked_(blocked), step_(step), part_(count, -1) {}

  void run(T depth, T* out) {
    label();
    if (parts_.size() < 2) return;
    join();
    choose();
    for (const Part& part : parts_) {
      if (part.kept) {
        for (const int32_t v : part.bridge) out[v] = -depth;
      } else {
        for (int64_t k = part.begin; k < part.end; ++k) out[members_[k]] = depth;
      }
    }
  }

 private:
  bool inside(int32_t v) const { return sdf_[v] < 0; }

  template <class F>
  void each_neighbor(int32_t v, const F& f) const {
    for (int32_t k = neighbors_.first[v]; k < neighbors_.first[v + 1]; ++k) f(neighbors_.ids[k]);
  }

  // Parts in the order of their lowest vertices; members in the order of a flood, first in first out.
  void label() {
    for (int32_t seed = 0; seed < count_; ++seed) {
      if (!inside(seed) || part_[seed] >= 0) continue;
      const int32_t id = static_cast<int32_t>(parts_.size());
      const int64_t begin = static_cast<int64_t>(members_.size());
      double weight = 0;
      part_[seed] = id;
      members_.push_back(seed);
      for (int64_t k = begin; k < static_cast<int64_t>(members_.size()); ++k) {
        weight += -static_cast<double>(sdf_[members_[k]]);
        each_neighbor(members_[k], [&](int32_t u) {
          if (!inside(u) || part_[u] >= 0) return;
          part_[u] = id;
          members_.push_back(u);
        });
      }
      parts_.push_back({begin, static_cast<int64_t>(members_.size()), weight});
    }
  }

  void join() {
    best_.assign(count_, std::numeric_limits<double>::infinity());
    previous_.assign(count_, -1);
    int32_t largest = 0;
    double left = 0;
    for (int32_t p = 0; p < static_cast<int32_t>(parts_.size()); ++p) {
      left += parts_[p].weight;
      if (parts_[p].end - parts_[p].begin > parts_[largest].end - parts_[largest].begin) largest = p;
    }
    left -= parts_[largest].weight;
    order_.push_back(largest);
    parts_[largest].joined = true;
    start_from(parts_[largest]);
    // Beyond the weight of all that is left, no bridge is worth it.
    while (!queue_.empty() && order_.size() < parts_.size() && queue_.top().first <= left) {
      const auto [cost, v] = queue_.top();
      queue_.pop();
      if (cost > best_[v]) continue;
      const int32_t p = part_[v];
      if (p < 0 || parts_[p].joined) {
        reach_from(v);
        continue;
      }
      Part& part = parts_[p];
      int32_t u = previous_[v];
      for (; part_[u] < 0; u = previous_[u]) part.bridge.push_back(u);
      part.parent = part_[u];
      part.cost = cost;
      part.joined = true;
      order_.push_back(p);
      for (const int32_t b : part.bridge) part_[b] = p;
      start_from(part);
      left -= part.weight;
    }
  }

  void start_from(const Part& part) {
    for (int64_t k = part.begin; k < part.end; ++k) best_[members_[k]] = 0;
    for (const int32_t v : part.bridge) best_[v] = 0;
    for (int64_t k = part.begin; k < part.end; ++k) reach_from(members_[k]);
    for (const int32_t v : part.bridge) reach_from(v);
  }

  void reach_from(int32_t v) {
    each_neighbor(v, [&](int32_t u) {
      const bool is_inside = inside(u);
      if (!is_inside && blocked_[u]) return;
      const double cost = is_inside ? best_[v] : best_[v] + (sdf_[u] > 0 ? static_cast<double>(sdf_[u]) : 0.0) + step_;
      if (cost < best_[u] || (cost == best_[u] && best_[u] > 0 && v < previous_[u])) {
        best_[u] = cost;
        previous_[u] = v;
        queue_.emplace(cost, u);
      }
    });
  }

  // From the last joined: what a part is worth with all that hangs on it.
  void choose() {
    std::vector<double> worth(parts_.size());
    for (size_t p = 0; p < parts_.size(); ++p) worth[p] = parts_[p].weight;
    parts_[order_[0]].kept = true;
    for (size_t k = order_.size(); k-- > 1;) {
      Part& part = parts_[order_[k]];
      part.kept = worth[order_[k]] >= part.cost;
      if (part.kept) worth[part.parent] += worth[order_[k]] - part.cost;
    }
    for (size_t k = 1; k < order_.size(); ++k) {
      Part& part = parts_[order_[k]];
      part.kept = part.kept && parts_[part.parent].kept;
    }
  }

  const T* sdf_;
  const int64_t count_;
  const Neighbors& neighbors_;
  const bool* blocked_;
  const double step_;
  std::vector<int32_t> part_, members_, order_, previous_;
  std::vector<Part> parts_;
  std::vector<double> best_;
  std::priority_queue<std::pair<double, int32_t>, std::vector<std::pair<double, int32_t>>, std::greater<>> queue_;
};

Tensor connect_components(const Tensor& sdf, const Tensor& edges, const Tensor& blocked, double depth, double step) {
  const int64_t batch = sdf.size(0), count = sdf.size(1);
  Tensor result = torch::stable::clone(sdf);
  const Neighbors neighbors(data<int32_t>(edges), edges.size(0), count);
  dispatch_floating(sdf, "connect_components", [&](auto zero) {
    using T = decltype(zero);
    const T* values = data<T>(sdf);
    T* out = mutable_data<T>(result);
    parallel_tasks(batch, [&](int64_t b) {
      Sample<T>(values + b * count, count, neighbors, data<bool>(blocked), step).run(static_cast<T>(depth), out + b * count);
    });
  });
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) { m.impl("connect_components", TORCH_BOX(&connect_components)); }

}  // namespace tetragan
