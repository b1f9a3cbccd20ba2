// `chamfer` on the CPU: point sets are sorted in space into blocks of 16 points, and every block searches the other set's
// blocks in order of their lower bounds (chamfer_simd.cpp). Exact, deterministic, the same for any number of threads.
#include "chamfer/chamfer.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "common/cpu.h"
#include "common/isa.h"

#define NEAREST_ARGUMENTS(T)                                                                                           \
  (const T* points, const T* boxes, int64_t blocks, int64_t stride, const T* other, const T* other_boxes,              \
   const int32_t* other_ids, int64_t other_blocks, int64_t other_stride, T* gap, T* best, int32_t* index)
TETRAGAN_DECLARE(void, nearest_f32, NEAREST_ARGUMENTS(float))
TETRAGAN_DECLARE(void, nearest_f64, NEAREST_ARGUMENTS(double))

namespace tetragan {

namespace {

constexpr int64_t kBlock = kChamferBlock;
// Point sets of y that one task of the all-pairs function compares with one of x.
constexpr int64_t kPairsPerTask = 16;

// A point set in blocks: layout in chamfer_simd.cpp. `ids` are the points' indices in the input.
template <class T>
struct PointSet {
  int64_t count = 0, blocks = 0, stride = 0;
  bool finite = true;
  std::vector<T> points, boxes;
  std::vector<int32_t> ids;
};

// Sort order[begin, end) so that every block of 16 is compact: halve at the median along the longest side, to a multiple of
// a block, until a block is left.
template <class T>
void sort_in_space(const T* points, std::vector<int32_t>& order, int64_t begin, int64_t end) {
  while (end - begin > kBlock) {
    T low[3], high[3];
    for (int axis = 0; axis < 3; ++axis) low[axis] = high[axis] = points[3 * order[begin] + axis];
    for (int64_t i = begin + 1; i < end; ++i) {
      for (int axis = 0; axis < 3; ++axis) {
        const T value = points[3 * order[i] + axis];
        low[axis] = std::min(low[axis], value);
        high[axis] = std::max(high[axis], value);
      }
    }
    int axis = 0;
    for (int k = 1; k < 3; ++k) axis = high[k] - low[k] > high[axis] - low[axis] ? k : axis;
    const int64_t middle = begin + ((end - begin) / kBlock + 1) / 2 * kBlock;
    const auto before = [&](int32_t a, int32_t b) {
      const T u = points[3 * a + axis], v = points[3 * b + axis];
      return u < v || (u == v && a < b);
    };
    std::nth_element(order.begin() + begin, order.begin() + middle, order.begin() + end, before);
    sort_in_space(points, order, middle, end);
    end = middle;
  }
}

template <class T>
PointSet<T> make_point_set(const T* points, int64_t count) {
  PointSet<T> set;
  set.count = count;
  set.blocks = (count + kBlock - 1) / kBlock;
  set.stride = (set.blocks + kBlock - 1) / kBlock * kBlock;
  const T missing = std::numeric_limits<T>::quiet_NaN();
  set.points.assign(set.blocks * 3 * kBlock, missing);
  set.boxes.assign(6 * set.stride, missing);
  set.ids.assign(set.blocks * kBlock, 0);
  std::vector<int32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  const auto is_finite = [&](int32_t id) {
    return std::isfinite(points[3 * id]) && std::isfinite(points[3 * id + 1]) && std::isfinite(points[3 * id + 2]);
  };
  // Points that are not finite come last and stay NaN: they are never a nearest point and have none.
  const int64_t usable = std::stable_partition(order.begin(), order.end(), is_finite) - order.begin();
  set.finite = usable == count;
  sort_in_space(points, order, 0, usable);
  for (int64_t place = 0; place < count; ++place) {
    const int64_t block = place / kBlock, lane = place % kBlock;
    set.ids[place] = order[place];
    for (int axis = 0; place < usable && axis < 3; ++axis) {
      const T value = points[3 * static_cast<int64_t>(order[place]) + axis];
      set.points[(3 * block + axis) * kBlock + lane] = value;
      T &low = set.boxes[axis * set.stride + block], &high = set.boxes[(3 + axis) * set.stride + block];
      low = lane == 0 ? value : std::min(low, value);
      high = lane == 0 ? value : std::max(high, value);
    }
  }
  return set;
}

void nearest(const PointSet<float>& from, const PointSet<float>& to, float* gap, float* best, int32_t* index) {
  TETRAGAN_CALL(nearest_f32, (from.points.data(), from.boxes.data(), from.blocks, from.stride, to.points.data(),
                              to.boxes.data(), to.ids.data(), to.blocks, to.stride, gap, best, index));
}

void nearest(const PointSet<double>& from, const PointSet<double>& to, double* gap, double* best, int32_t* index) {
  TETRAGAN_CALL(nearest_f64, (from.points.data(), from.boxes.data(), from.blocks, from.stride, to.points.data(),
                              to.boxes.data(), to.ids.data(), to.blocks, to.stride, gap, best, index));
}

template <class T>
struct Scratch {
  std::vector<T> gap, best;
  std::vector<int32_t> index;

  Scratch(const PointSet<T>& a, const PointSet<T>& b)
      : gap(std::max(a.stride, b.stride)), best(std::max(a.blocks, b.blocks) * kBlock), index(best.size()) {}
};

template <class T>
void write_nearest(const PointSet<T>& from, const PointSet<T>& to, Scratch<T>& scratch, T* distance, int32_t* index) {
  nearest(from, to, scratch.gap.data(), scratch.best.data(), scratch.index.data());
  for (int64_t place = 0; place < from.count; ++place) {
    const T best = scratch.best[place];
    // A point that is not finite kept its start value, and one without any neighbor has no index.
    const bool found = best >= 0 && std::isfinite(best);
    distance[from.ids[place]] = best >= 0 ? best : std::numeric_limits<T>::infinity();
    index[from.ids[place]] = found ? scratch.index[place] : 0;
  }
}

std::tuple<Tensor, Tensor, Tensor, Tensor> chamfer(const Tensor& x, const Tensor& y) {
  const int64_t batch = x.size(0), p = x.size(1), q = y.size(1);
  Tensor d_xy = empty_like_of(x, {batch, p}), d_yx = empty_like_of(x, {batch, q});
  Tensor i_xy = empty_like_of(x, {batch, p}, ScalarType::Int), i_yx = empty_like_of(x, {batch, q}, ScalarType::Int);
  dispatch_floating(x, "chamfer", [&](auto zero) {
    using T = decltype(zero);
    const T *from = data<T>(x), *to = data<T>(y);
    T *out_xy = mutable_data<T>(d_xy), *out_yx = mutable_data<T>(d_yx);
    int32_t *id_xy = mutable_data<int32_t>(i_xy), *id_yx = mutable_data<int32_t>(i_yx);
    parallel_tasks(batch, [&](int64_t b) {
      const PointSet<T> one = make_point_set(from + 3 * b * p, p), two = make_point_set(to + 3 * b * q, q);
      Scratch<T> scratch(one, two);
      write_nearest(one, two, scratch, out_xy + b * p, id_xy + b * p);
      write_nearest(two, one, scratch, out_yx + b * q, id_yx + b * q);
    });
  });
  return {d_xy, d_yx, i_xy, i_yx};
}

template <class T>
double mean_nearest(const PointSet<T>& from, const PointSet<T>& to, Scratch<T>& scratch) {
  nearest(from, to, scratch.gap.data(), scratch.best.data(), nullptr);
  double sum = 0;
  for (int64_t place = 0; place < from.count; ++place) sum += scratch.best[place];
  return sum / static_cast<double>(from.count);
}

template <class T>
std::vector<PointSet<T>> make_point_sets(const Tensor& sets) {
  const int64_t batch = sets.size(0), count = sets.size(1);
  std::vector<PointSet<T>> made(batch);
  parallel_tasks(batch, [&](int64_t b) { made[b] = make_point_set(data<T>(sets) + 3 * b * count, count); });
  return made;
}

Tensor chamfer_matrix(const Tensor& x, const Tensor& y) {
  const int64_t rows = x.size(0), columns = y.size(0), groups = (columns + kPairsPerTask - 1) / kPairsPerTask;
  Tensor result = empty_like_of(x, {rows, columns});
  dispatch_floating(x, "chamfer_matrix", [&](auto zero) {
    using T = decltype(zero);
    T* out = mutable_data<T>(result);
    const std::vector<PointSet<T>> from = make_point_sets<T>(x), to = make_point_sets<T>(y);
    parallel_tasks(rows * groups, [&](int64_t task) {
      const int64_t row = task / groups, begin = task % groups * kPairsPerTask;
      Scratch<T> scratch(from[row], to[begin]);
      for (int64_t column = begin; column < std::min(begin + kPairsPerTask, columns); ++column) {
        const bool finite = from[row].finite && to[column].finite;
        out[row * columns + column] =
            finite ? static_cast<T>(mean_nearest(from[row], to[column], scratch) + mean_nearest(to[column], from[row], scratch))
                   : std::numeric_limits<T>::infinity();
      }
    });
  });
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) {
  m.impl("chamfer", TORCH_BOX(&chamfer));
  m.impl("chamfer_matrix", TORCH_BOX(&chamfer_matrix));
}

}  // namespace tetragan
