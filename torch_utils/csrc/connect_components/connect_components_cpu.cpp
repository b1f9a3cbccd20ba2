// `connect_components` on the CPU: a task owns one sample. It labels the components by breadth-first search, builds Prim's
// spanning tree over them by Dijkstra's search from the connected ones, and finds the least edit on that tree. The order of
// all steps and sums is that of the reference, so the results are equal bit for bit.
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

// Vertices members[begin, end); weight is the sum of −SDF over them. parent, cost and bridge say how it was connected.
struct Component {
  int64_t begin, end;
  double weight;
  bool connected = false, kept = false;
  int32_t parent = -1;
  double cost = 0;
  std::vector<int32_t> bridge;
};

template <class T>
class Sample {
 public:
  Sample(const T* sdf, int64_t count, const Neighbors& neighbors, const bool* blocked, double step)
      : sdf_(sdf), count_(count), neighbors_(neighbors), blocked_(blocked), step_(step), component_(count, -1) {}

  void run(T depth, T* out) {
    label_components();
    if (components_.size() < 2) return;
    connect();
    choose_kept();
    for (const Component& component : components_) {
      if (component.kept) {
        for (const int32_t v : component.bridge) out[v] = -depth;
      } else {
        for (int64_t k = component.begin; k < component.end; ++k) out[members_[k]] = depth;
      }
    }
  }

 private:
  bool inside(int32_t v) const { return sdf_[v] < 0; }

  template <class F>
  void each_neighbor(int32_t v, const F& f) const {
    for (int32_t k = neighbors_.first[v]; k < neighbors_.first[v + 1]; ++k) f(neighbors_.ids[k]);
  }

  // Components are numbered by their lowest vertices; members follow the order of breadth-first search.
  void label_components() {
    for (int32_t seed = 0; seed < count_; ++seed) {
      if (!inside(seed) || component_[seed] >= 0) continue;
      const int32_t id = static_cast<int32_t>(components_.size());
      const int64_t begin = static_cast<int64_t>(members_.size());
      double weight = 0;
      component_[seed] = id;
      members_.push_back(seed);
      for (int64_t k = begin; k < static_cast<int64_t>(members_.size()); ++k) {
        weight += -static_cast<double>(sdf_[members_[k]]);
        each_neighbor(members_[k], [&](int32_t u) {
          if (!inside(u) || component_[u] >= 0) return;
          component_[u] = id;
          members_.push_back(u);
        });
      }
      components_.push_back({begin, static_cast<int64_t>(members_.size()), weight});
    }
  }

  void connect() {
    best_.assign(count_, std::numeric_limits<double>::infinity());
    previous_.assign(count_, -1);
    int32_t largest = 0;
    double left = 0;
    for (int32_t c = 0; c < static_cast<int32_t>(components_.size()); ++c) {
      left += components_[c].weight;
      if (components_[c].end - components_[c].begin > components_[largest].end - components_[largest].begin) largest = c;
    }
    left -= components_[largest].weight;
    order_.push_back(largest);
    components_[largest].connected = true;
    start_from(components_[largest]);
    // A bridge that costs more than the weight of all components not yet reached is never worth it.
    while (!queue_.empty() && order_.size() < components_.size() && queue_.top().first <= left) {
      const auto [cost, v] = queue_.top();
      queue_.pop();
      if (cost > best_[v]) continue;
      const int32_t c = component_[v];
      if (c < 0 || components_[c].connected) {
        reach_from(v);
        continue;
      }
      Component& component = components_[c];
      int32_t u = previous_[v];
      for (; component_[u] < 0; u = previous_[u]) component.bridge.push_back(u);
      component.parent = component_[u];
      component.cost = cost;
      component.connected = true;
      order_.push_back(c);
      for (const int32_t b : component.bridge) component_[b] = c;
      start_from(component);
      left -= component.weight;
    }
  }

  void start_from(const Component& component) {
    for (int64_t k = component.begin; k < component.end; ++k) best_[members_[k]] = 0;
    for (const int32_t v : component.bridge) best_[v] = 0;
    for (int64_t k = component.begin; k < component.end; ++k) reach_from(members_[k]);
    for (const int32_t v : component.bridge) reach_from(v);
  }

  void reach_from(int32_t v) {
    each_neighbor(v, [&](int32_t u) {
      const bool is_inside = inside(u);
      if (!is_inside && blocked_[u]) return;
      const double cost = is_inside ? best_[v] : best_[v] + (sdf_[u] > 0 ? static_cast<double>(sdf_[u]) : 0.0) + step_;
      // Of equal costs the lowest vertex; never one of u's own cost, or vertices that cost nothing could lead to each other.
      if (cost < best_[u] || (cost == best_[u] && best_[v] < cost && v < previous_[u])) {
        best_[u] = cost;
        previous_[u] = v;
        queue_.emplace(cost, u);
      }
    });
  }

  // Backwards, from the component connected last: what each is worth together with all that is connected through it.
  void choose_kept() {
    std::vector<double> worth(components_.size());
    for (size_t c = 0; c < components_.size(); ++c) worth[c] = components_[c].weight;
    components_[order_[0]].kept = true;
    for (size_t k = order_.size(); k-- > 1;) {
      Component& component = components_[order_[k]];
      component.kept = worth[order_[k]] >= component.cost;
      if (component.kept) worth[component.parent] += worth[order_[k]] - component.cost;
    }
    for (size_t k = 1; k < order_.size(); ++k) {
      Component& component = components_[order_[k]];
      component.kept = component.kept && components_[component.parent].kept;
    }
  }

  const T* sdf_;
  const int64_t count_;
  const Neighbors& neighbors_;
  const bool* blocked_;
  const double step_;
  std::vector<int32_t> component_, members_, order_, previous_;
  std::vector<Component> components_;
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
