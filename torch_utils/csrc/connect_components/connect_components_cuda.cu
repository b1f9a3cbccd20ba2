// CUDA kernels of `connect_components`; nothing leaves the device. Components come from a union-find over all edges of the
// batch. Then a block owns a sample: it finds the cost of the cheapest bridge to every vertex by relaxation (the same numbers as
// Dijkstra's search, because rounded sums never fall), connects the nearest component, and goes on from there.
//
// Deterministic: a component's weight is a sum of whole numbers, and a relaxation reads only what the one before it wrote.
#include "connect_components/connect_components_cuda.h"

#include "common/cuda_launch.h"

namespace tetragan {
namespace {

constexpr int kThreads = 512;
// Weights are sums of up to 2²² numbers of at most 2⁴⁰.
constexpr int kWeightBits = 40;
constexpr double kLargest = 1e30;  // more counts as this much
using Word = unsigned long long;

// Scratch of one sample, [vertices] each. What belongs to a component lies at its root, its lowest vertex.
struct State {
  int32_t *parent;      // of the union-find; later, the vertex from which the cost came
  int32_t *component;   // root of the vertex's component; of an outside vertex, that of its bridge, or −1
  double *cost, *next;  // of the cheapest bridge to the vertex; what the current relaxation found
  int32_t *frontier, *candidates, *targets, *marked;
  Word *weight;         // in units of `unit`
  int32_t *size, *connected, *kept, *connected_to, *order;
  double *bridge_cost, *worth;
};
constexpr int64_t kStateBytes = 11 * 4 + 4 * 8 + 8;

struct Graph {
  const int32_t *first, *ids;  // neighbors of v: ids[first[v] … first[v + 1] − 1]
  const bool* blocked;
  int32_t vertices;
};

struct Memory {
  char* states;
  int64_t state_size;
  Word* largest;  // bits of the largest −SDF of each sample
  int32_t *first, *fill, *ids;
};

int64_t aligned(int64_t bytes) { return (bytes + 255) / 256 * 256; }

Memory lay_out(void* scratch, const ComponentsSize& s) {
  char* at = static_cast<char*>(scratch);
  const auto take = [&](int64_t bytes) {
    char* start = at;
    at += aligned(bytes);
    return start;
  };
  Memory m;
  m.state_size = aligned(s.vertices * kStateBytes);
  m.states = take(s.samples * m.state_size);
  m.largest = reinterpret_cast<Word*>(take(8 * s.samples));
  m.first = reinterpret_cast<int32_t*>(take(4 * (s.vertices + 1)));
  m.fill = reinterpret_cast<int32_t*>(take(4 * (s.vertices + 1)));
  m.ids = reinterpret_cast<int32_t*>(take(8 * s.edges));
  return m;
}

__device__ State state_of(const Memory& m, int64_t sample, int64_t vertices) {
  char* at = m.states + sample * m.state_size;
  const auto doubles = [&] {
    char* start = at;
    at += 8 * vertices;
    return start;
  };
  const auto numbers = [&] {
    char* start = at;
    at += 4 * vertices;
    return reinterpret_cast<int32_t*>(start);
  };
  State s;
  s.cost = reinterpret_cast<double*>(doubles());
  s.next = reinterpret_cast<double*>(doubles());
  s.bridge_cost = reinterpret_cast<double*>(doubles());
  s.worth = reinterpret_cast<double*>(doubles());
  s.weight = reinterpret_cast<Word*>(doubles());
  for (int32_t** list : {&s.parent, &s.component, &s.frontier, &s.candidates, &s.targets, &s.marked, &s.size, &s.connected,
                         &s.kept, &s.connected_to, &s.order}) {
    *list = numbers();
  }
  return s;
}

// -- the graph ---------------------------------------------------------------------------------------------------------

__device__ bool known_edge(const int32_t* edge, int64_t vertices) {
  return edge[0] >= 0 && edge[0] < vertices && edge[1] >= 0 && edge[1] < vertices;
}

__global__ void degrees_kernel(const int32_t* edges, int64_t count, int64_t vertices, int32_t* degrees) {
  TETRAGAN_EACH(e, count) {
    if (!known_edge(edges + 2 * e, vertices)) continue;
    for (int k = 0; k < 2; ++k) atomicAdd(degrees + edges[2 * e + k], 1);
  }
}

// Degrees to the sums before them, in place and in a copy; one block, a tile at a time.
__global__ void offsets_kernel(int64_t vertices, int32_t* first, int32_t* fill) {
  __shared__ int32_t sums[kThreads];
  __shared__ int32_t carry;
  if (threadIdx.x == 0) carry = 0;
  for (int64_t start = 0; start <= vertices; start += kThreads) {
    const int64_t v = start + threadIdx.x;
    const int32_t degree = v < vertices ? first[v] : 0;
    sums[threadIdx.x] = degree;
    __syncthreads();
    for (int step = 1; step < kThreads; step *= 2) {
      const int32_t add = threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
      __syncthreads();
      sums[threadIdx.x] += add;
      __syncthreads();
    }
    if (v <= vertices) first[v] = fill[v] = carry + sums[threadIdx.x] - degree;
    __syncthreads();
    if (threadIdx.x == 0) carry += sums[kThreads - 1];
    __syncthreads();
  }
}

__global__ void fill_kernel(const int32_t* edges, int64_t count, int64_t vertices, int32_t* fill, int32_t* ids) {
  TETRAGAN_EACH(e, count) {
    if (!known_edge(edges + 2 * e, vertices)) continue;
    for (int k = 0; k < 2; ++k) ids[atomicAdd(fill + edges[2 * e + k], 1)] = edges[2 * e + 1 - k];
  }
}

// -- components --------------------------------------------------------------------------------------------------------

template <class T>
__device__ double depth_below_zero(T sdf) {
  const double value = -static_cast<double>(sdf);
  return value < kLargest ? value : kLargest;
}

template <class T>
__global__ void begin_kernel(const T* sdf, int64_t samples, int64_t vertices, Memory m, T* out) {
  TETRAGAN_EACH(i, samples * vertices) {
    const int64_t sample = i / vertices;
    const int32_t v = static_cast<int32_t>(i % vertices);
    const State s = state_of(m, sample, vertices);
    const bool inside = sdf[i] < 0;
    s.parent[v] = inside ? v : -1;
    s.cost[v] = INFINITY;
    s.weight[v] = 0;
    s.size[v] = s.connected[v] = s.kept[v] = s.marked[v] = 0;
    out[i] = sdf[i];
    if (inside) atomicMax(m.largest + sample, static_cast<Word>(__double_as_longlong(depth_below_zero(sdf[i]))));
  }
}

__device__ int32_t root_of(const int32_t* parent, int32_t v) {
  for (int32_t up = load_relaxed(parent + v); up != v; up = load_relaxed(parent + v)) v = up;
  return v;
}

// The larger root hangs under the smaller one, so that a component's root is its lowest vertex.
template <class T>
__global__ void unite_kernel(const T* sdf, const int32_t* edges, int64_t count, int64_t samples, int64_t vertices, Memory m) {
  TETRAGAN_EACH(i, samples * count) {
    const int64_t sample = i / count;
    const int32_t* edge = edges + 2 * (i % count);
    const T* row = sdf + sample * vertices;
    if (!known_edge(edge, vertices) || !(row[edge[0]] < 0) || !(row[edge[1]] < 0)) continue;
    int32_t* parent = state_of(m, sample, vertices).parent;
    int32_t a = root_of(parent, edge[0]), b = root_of(parent, edge[1]);
    while (a != b) {
      const int32_t high = a > b ? a : b, low = a > b ? b : a;
      const int32_t found = atomicCAS(parent + high, high, low);
      if (found == high) break;
      a = root_of(parent, found);
      b = root_of(parent, low);
    }
  }
}

// The unit of a sample's weights is 2^(exponent − kWeightBits), where no depth reaches 2^exponent.
__device__ int exponent_of(const Memory& m, int64_t sample) {
  int exponent;
  frexp(__longlong_as_double(static_cast<long long>(m.largest[sample])), &exponent);
  return exponent;
}

template <class T>
__global__ void weigh_kernel(const T* sdf, int64_t samples, int64_t vertices, Memory m) {
  TETRAGAN_EACH(i, samples * vertices) {
    const int64_t sample = i / vertices;
    const int32_t v = static_cast<int32_t>(i % vertices);
    const State s = state_of(m, sample, vertices);
    const int32_t root = s.parent[v] < 0 ? -1 : root_of(s.parent, v);
    s.component[v] = root;
    if (root < 0) continue;
    atomicAdd(s.size + root, 1);
    const double scaled = ldexp(depth_below_zero(sdf[i]), kWeightBits - exponent_of(m, sample));
    atomicAdd(s.weight + root, static_cast<Word>(llrint(scaled)));
  }
}

// -- the search in one sample ------------------------------------------------------------------------------------------

template <class T>
struct Search {
  State s;
  Graph graph;
  const T* sdf;
  double step;

  __device__ bool inside(int32_t v) const { return sdf[v] < 0; }
  // Whether paths go on from v.
  __device__ bool passes(int32_t v) const { return inside(v) ? s.connected[s.component[v]] != 0 : !graph.blocked[v]; }
  // The cost of a path that goes on from a vertex of cost `before` to u.
  __device__ double cost_through(double before, int32_t u) const {
    if (inside(u)) return before;
    return before + (sdf[u] > 0 ? static_cast<double>(sdf[u]) : 0.0) + step;
  }

  // The lowest neighbor from which a path gives u its cost. Where several vertices cost nothing, the one that did so first.
  __device__ int32_t previous(int32_t u) const {
    int32_t lowest = INT32_MAX;
    const bool target = inside(u);
    for (int32_t k = graph.first[u]; k < graph.first[u + 1]; ++k) {
      const int32_t v = graph.ids[k];
      if (v < lowest && passes(v) && cost_through(s.cost[v], u) == s.cost[u] && (target || s.cost[v] < s.cost[u])) lowest = v;
    }
    return lowest < INT32_MAX ? lowest : s.parent[u];
  }
};

// Lowers costs until none changes; costs beyond `limit` are of no use. frontier[0, *frontier_count): vertices whose cost is new.
template <class T>
__device__ void relax(const Search<T>& search, double limit, int32_t* frontier_count, int32_t* candidate_count) {
  const State& s = search.s;
  const Graph& graph = search.graph;
  while (true) {
    __syncthreads();
    const int32_t changed = *frontier_count;
    if (threadIdx.x == 0) *candidate_count = 0;
    __syncthreads();
    if (changed == 0) return;
    for (int32_t i = threadIdx.x; i < changed; i += kThreads) {
      const int32_t v = s.frontier[i];
      for (int32_t k = graph.first[v]; k < graph.first[v + 1]; ++k) {
        const int32_t u = graph.ids[k];
        const bool open = search.inside(u) ? s.connected[s.component[u]] == 0 : !graph.blocked[u];
        if (open && atomicExch(s.marked + u, 1) == 0) s.candidates[atomicAdd(candidate_count, 1)] = u;
      }
    }
    __syncthreads();
    const int32_t candidates = *candidate_count;
    if (threadIdx.x == 0) *frontier_count = 0;
    for (int32_t i = threadIdx.x; i < candidates; i += kThreads) {
      const int32_t u = s.candidates[i];
      double least = s.cost[u];
      int32_t from = -1;
      for (int32_t k = graph.first[u]; k < graph.first[u + 1]; ++k) {
        const int32_t v = graph.ids[k];
        if (!search.passes(v)) continue;
        const double cost = search.cost_through(s.cost[v], u);
        if (cost < least || (cost == least && from >= 0 && v < from)) least = cost, from = v;
      }
      s.next[u] = least;
      if (from >= 0) s.parent[u] = from;
      s.marked[u] = 0;
    }
    __syncthreads();
    for (int32_t i = threadIdx.x; i < candidates; i += kThreads) {
      const int32_t u = s.candidates[i];
      if (!(s.next[u] < s.cost[u]) || !(s.next[u] <= limit)) continue;
      s.cost[u] = s.next[u];
      if (!search.inside(u)) s.frontier[atomicAdd(frontier_count, 1)] = u;
    }
  }
}

// Connects the component of v, which the cheapest bridge reaches. Its own vertices do not join the frontier yet.
template <class T>
__device__ void connect(const Search<T>& search, int32_t v, double unit, int32_t* order_count, int32_t* frontier_count,
                        double* left) {
  const State& s = search.s;
  const int32_t root = s.component[v];
  int32_t length = 0, u = search.previous(v);
  for (; s.component[u] < 0; u = search.previous(u)) s.candidates[length++] = u;
  s.connected_to[root] = s.component[u];
  s.bridge_cost[root] = s.cost[v];
  s.connected[root] = 1;
  s.order[(*order_count)++] = root;
  for (int32_t k = 0; k < length; ++k) {
    s.component[s.candidates[k]] = root;
    s.cost[s.candidates[k]] = 0;
    s.frontier[k] = s.candidates[k];
  }
  *frontier_count = length;
  *left -= unit * static_cast<double>(s.weight[root]);
}

// Backwards, from the component connected last: what each is worth together with all that is connected through it.
__device__ void choose_kept(const State& s, int32_t count, double unit) {
  for (int32_t k = 0; k < count; ++k) s.worth[s.order[k]] = unit * static_cast<double>(s.weight[s.order[k]]);
  s.kept[s.order[0]] = 1;
  for (int32_t k = count - 1; k > 0; --k) {
    const int32_t root = s.order[k], to = s.connected_to[root];
    s.kept[root] = s.worth[root] >= s.bridge_cost[root];
    if (s.kept[root]) s.worth[to] += s.worth[root] - s.bridge_cost[root];
  }
  for (int32_t k = 1; k < count; ++k) s.kept[s.order[k]] = s.kept[s.order[k]] && s.kept[s.connected_to[s.order[k]]];
}

template <class T>
__global__ void __launch_bounds__(kThreads) search_kernel(const T* sdf, Graph graph, Memory m, double step, T depth, T* out) {
  __shared__ int32_t components, frontier_count, candidate_count, target_count, order_count;
  __shared__ Word largest, weight, nearest, first;
  __shared__ double left;
  const int64_t sample = blockIdx.x;
  const int32_t vertices = graph.vertices;
  const Search<T> search{state_of(m, sample, vertices), graph, sdf + sample * vertices, step};
  const State& s = search.s;
  if (threadIdx.x == 0) {
    components = frontier_count = target_count = order_count = 0;
    largest = weight = 0;
  }
  __syncthreads();
  for (int32_t v = threadIdx.x; v < vertices; v += kThreads) {
    if (s.component[v] != v) continue;
    atomicAdd(&components, 1);
    atomicMax(&largest, static_cast<Word>(s.size[v]) << 32 | (0xffffffffu - static_cast<uint32_t>(v)));
    atomicAdd(&weight, s.weight[v]);
  }
  __syncthreads();
  if (components < 2) return;
  const int32_t start = static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(largest & 0xffffffffu));
  const double unit = ldexp(1.0, exponent_of(m, sample) - kWeightBits);
  if (threadIdx.x == 0) {
    left = unit * static_cast<double>(weight - s.weight[start]);
    s.order[order_count++] = start;
    s.connected[start] = 1;
  }
  for (int32_t v = threadIdx.x; v < vertices; v += kThreads) {
    if (s.component[v] < 0) continue;
    if (s.component[v] == start) {
      s.cost[v] = 0;
      s.frontier[atomicAdd(&frontier_count, 1)] = v;
    } else {
      s.targets[atomicAdd(&target_count, 1)] = v;
    }
  }
  __syncthreads();
  while (true) {
    relax(search, left, &frontier_count, &candidate_count);
    if (threadIdx.x == 0) nearest = first = ~Word{0};
    __syncthreads();
    for (int32_t i = threadIdx.x; i < target_count; i += kThreads) {
      const int32_t v = s.targets[i];
      if (s.connected[s.component[v]] == 0) atomicMin(&nearest, static_cast<Word>(__double_as_longlong(s.cost[v])));
    }
    __syncthreads();
    // A bridge that costs more than the weight of all components not yet reached is never worth it.
    if (nearest == ~Word{0} || !(__longlong_as_double(static_cast<long long>(nearest)) <= left)) break;
    // Of equal costs, the vertex that a queue of (cost, vertex) would hand out first.
    for (int32_t i = threadIdx.x; i < target_count; i += kThreads) {
      const int32_t v = s.targets[i];
      if (s.connected[s.component[v]] != 0 || static_cast<Word>(__double_as_longlong(s.cost[v])) != nearest) continue;
      const int32_t before = search.previous(v), later = before > v ? before : v;
      atomicMin(&first, static_cast<Word>(later) << 32 | static_cast<uint32_t>(v));
    }
    __syncthreads();
    const int32_t reached = static_cast<int32_t>(first & 0xffffffffu), root = s.component[reached];
    if (threadIdx.x == 0) connect(search, reached, unit, &order_count, &frontier_count, &left);
    __syncthreads();
    for (int32_t i = threadIdx.x; i < target_count; i += kThreads) {
      const int32_t v = s.targets[i];
      if (s.component[v] != root) continue;
      s.cost[v] = 0;
      s.frontier[atomicAdd(&frontier_count, 1)] = v;
    }
  }
  if (threadIdx.x == 0) choose_kept(s, order_count, unit);
  __syncthreads();
  for (int32_t v = threadIdx.x; v < vertices; v += kThreads) {
    if (s.component[v] < 0) continue;
    const bool kept = s.kept[s.component[v]] != 0;
    if (search.inside(v) && !kept) out[sample * vertices + v] = depth;
    if (!search.inside(v) && kept) out[sample * vertices + v] = -depth;
  }
}

}  // namespace

int64_t connect_components_cuda_scratch(const ComponentsSize& s) {
  return s.samples * aligned(s.vertices * kStateBytes) + aligned(8 * s.samples) + 2 * aligned(4 * (s.vertices + 1)) +
         aligned(8 * s.edges);
}

template <class T>
void connect_components_cuda(const T* sdf, const int32_t* edges, const bool* blocked, const ComponentsSize& size, double depth,
                             double step, void* scratch, T* out, cudaStream_t stream) {
  const int64_t samples = size.samples, vertices = size.vertices;
  if (samples * vertices == 0) return;
  const Memory m = lay_out(scratch, size);
  cudaMemsetAsync(m.largest, 0, 8 * samples, stream);
  cudaMemsetAsync(m.first, 0, 4 * (vertices + 1), stream);
  begin_kernel<T><<<blocks_for(samples * vertices), kBlock, 0, stream>>>(sdf, samples, vertices, m, out);
  if (size.edges > 0) {
    degrees_kernel<<<blocks_for(size.edges), kBlock, 0, stream>>>(edges, size.edges, vertices, m.first);
    unite_kernel<T><<<blocks_for(samples * size.edges), kBlock, 0, stream>>>(sdf, edges, size.edges, samples, vertices, m);
  }
  offsets_kernel<<<1, kThreads, 0, stream>>>(vertices, m.first, m.fill);
  if (size.edges > 0) fill_kernel<<<blocks_for(size.edges), kBlock, 0, stream>>>(edges, size.edges, vertices, m.fill, m.ids);
  weigh_kernel<T><<<blocks_for(samples * vertices), kBlock, 0, stream>>>(sdf, samples, vertices, m);
  const Graph graph{m.first, m.ids, blocked, static_cast<int32_t>(vertices)};
  search_kernel<T><<<static_cast<unsigned>(samples), kThreads, 0, stream>>>(sdf, graph, m, step, static_cast<T>(depth), out);
}

template void connect_components_cuda<float>(const float*, const int32_t*, const bool*, const ComponentsSize&, double, double,
                                             void*, float*, cudaStream_t);
template void connect_components_cuda<double>(const double*, const int32_t*, const bool*, const ComponentsSize&, double, double,
                                              void*, double*, cudaStream_t);

}  // namespace tetragan
