// `collapse_edges` on the CPU: a heap of edges by quadric error, whose outdated entries are skipped when they come up.
// One thread: each collapse depends on those before it. The order of additions is that of the reference, so that both
// make the same decisions.
#include <array>
#include <cmath>
#include <queue>

#include "common/cpu.h"

namespace tetragan {
namespace {

using Point = std::array<double, 3>;
// A symmetric 4 × 4 matrix: xx xy xz xw yy yz yw zz zw ww.
using Quadric = std::array<double, 10>;

// As in ops/collapse_edges.py.
constexpr double kLengthWeight = 1e-3, kMinCosine = 0.2, kMinShape = 1e-3;

Point minus(const Point& a, const Point& b) { return {a[0] - b[0], a[1] - b[1], a[2] - b[2]}; }
Point cross(const Point& a, const Point& b) {
  return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}
double dot(const Point& a, const Point& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

double error_at(const Quadric& q, const Point& p) {
  const double x = p[0], y = p[1], z = p[2];
  return x * (q[0] * x + 2 * (q[1] * y + q[2] * z + q[3])) + y * (q[4] * y + 2 * (q[5] * z + q[6])) +
         z * (q[7] * z + 2 * q[8]) + q[9];
}

// Vertex `from` moves to vertex `to`. Entries whose vertices have changed since are outdated.
struct Candidate {
  double cost;
  int32_t from, to;
  uint32_t version_from, version_to;
  bool operator<(const Candidate& other) const {  // the queue's top is the largest
    if (cost != other.cost) return cost > other.cost;
    if (from != other.from) return from > other.from;
    return to > other.to;
  }
};

class Collapser {
 public:
  Collapser(std::vector<Point> points, std::vector<std::array<int32_t, 3>> faces)
      : points_(std::move(points)), faces_(std::move(faces)), alive_(faces_.size(), true), fans_(points_.size()),
        quadrics_(points_.size(), Quadric{}), frozen_(points_.size(), false), versions_(points_.size(), 0),
        marks_(points_.size(), 0), left_(static_cast<int64_t>(faces_.size())) {
    for (size_t f = 0; f < faces_.size(); ++f) {
      const Point n = normal(faces_[f]);
      const double length = std::sqrt(dot(n, n));
      if (length > 0) add_plane(faces_[f], n, length);
      for (int32_t v : faces_[f]) fans_[v].push_back(static_cast<int32_t>(f));
    }
    for (size_t v = 0; v < points_.size(); ++v) freeze_unless_closed(static_cast<int32_t>(v));
  }

  void run(int64_t max_faces) {
    for (size_t v = 0; v < points_.size(); ++v) {
      for (int32_t other : neighbors(static_cast<int32_t>(v))) {
        if (static_cast<int32_t>(v) < other) push(static_cast<int32_t>(v), other);
      }
    }
    while (left_ > max_faces && !heap_.empty()) {
      const Candidate top = heap_.top();
      heap_.pop();
      if (versions_[top.from] != top.version_from || versions_[top.to] != top.version_to) continue;
      if (allowed(top.from, top.to)) {
        collapse(top.from, top.to);
      } else if (top.cost == cost(top.from, top.to) && first(top.from, top.to)) {
        push_one(top.to, top.from);
      }
    }
  }

  std::vector<int32_t> faces() const {
    std::vector<int32_t> result;
    for (size_t f = 0; f < faces_.size(); ++f) {
      if (alive_[f]) result.insert(result.end(), faces_[f].begin(), faces_[f].end());
    }
    return result;
  }

 private:
  Point normal(const std::array<int32_t, 3>& f) const {
    return cross(minus(points_[f[1]], points_[f[0]]), minus(points_[f[2]], points_[f[0]]));
  }

  // The squared distance from the plane of a face, times twice the face's area.
  void add_plane(const std::array<int32_t, 3>& face, const Point& n, double length) {
    const Point unit = {n[0] / length, n[1] / length, n[2] / length};
    const double w = -dot(unit, points_[face[0]]);
    const double plane[4] = {unit[0], unit[1], unit[2], w};
    for (int32_t v : face) {
      int k = 0;
      for (int i = 0; i < 4; ++i) {
        for (int j = i; j < 4; ++j) quadrics_[v][k++] += length * plane[i] * plane[j];
      }
    }
  }

  std::vector<int32_t> neighbors(int32_t v) const {
    std::vector<int32_t> result;
    for (int32_t f : fans_[v]) {
      for (int32_t other : faces_[f]) {
        if (other != v) result.push_back(other);
      }
    }
    std::sort(result.begin(), result.end());
    result.erase(std::unique(result.begin(), result.end()), result.end());
    return result;
  }

  // A vertex stays where it is unless each of its edges has exactly two faces.
  void freeze_unless_closed(int32_t v) {
    std::vector<int32_t> ends;
    for (int32_t f : fans_[v]) {
      for (int32_t other : faces_[f]) {
        if (other != v) ends.push_back(other);
      }
    }
    if (ends.size() != 2 * fans_[v].size()) frozen_[v] = true;  // a face with a repeated vertex
    std::sort(ends.begin(), ends.end());
    for (size_t i = 0; i < ends.size() && !frozen_[v]; i += 2) {
      if (i + 1 >= ends.size() || ends[i] != ends[i + 1] || (i + 2 < ends.size() && ends[i] == ends[i + 2])) {
        frozen_[v] = true;
      }
    }
  }

  double cost(int32_t from, int32_t to) const {
    Quadric sum;
    for (int i = 0; i < 10; ++i) sum[i] = quadrics_[from][i] + quadrics_[to][i];
    const Point edge = minus(points_[from], points_[to]);
    const double square = dot(edge, edge);
    return error_at(sum, points_[to]) + kLengthWeight * square * square;
  }

  // Whether the direction from → to is the one that `push` prefers.
  bool first(int32_t from, int32_t to) const {
    const double ahead = cost(from, to), back = cost(to, from);
    if (frozen_[to]) return true;
    return ahead < back || (ahead == back && from < to);
  }

  void push_one(int32_t from, int32_t to) {
    if (!frozen_[from]) heap_.push({cost(from, to), from, to, versions_[from], versions_[to]});
  }

  void push(int32_t a, int32_t b) {
    if (frozen_[a] && frozen_[b]) return;
    if (frozen_[a] || (!frozen_[b] && !first(a, b))) std::swap(a, b);
    push_one(a, b);
  }

  // The link condition (Dey et al. 1999), and no face turns over or degenerates.
  bool allowed(int32_t from, int32_t to) {
    ++mark_;
    for (int32_t f : fans_[to]) {
      for (int32_t other : faces_[f]) marks_[other] = mark_;
    }
    int shared_faces = 0;
    for (int32_t f : fans_[from]) {
      const auto& face = faces_[f];
      if (face[0] == to || face[1] == to || face[2] == to) {
        ++shared_faces;
        for (int32_t other : face) {
          if (other != from && other != to && fans_[other].size() <= 3) return false;
        }
      }
    }
    if (shared_faces != 2) return false;
    int shared_neighbors = 0;
    for (int32_t other : neighbors(from)) {
      if (other != to && marks_[other] == mark_) ++shared_neighbors;
    }
    if (shared_neighbors != 2) return false;
    for (int32_t f : fans_[from]) {
      auto face = faces_[f];
      if (face[0] == to || face[1] == to || face[2] == to) continue;
      const Point before = normal(face);
      for (int32_t& v : face) {
        if (v == from) v = to;
      }
      const Point after = normal(face);
      const double old_square = dot(before, before), new_square = dot(after, after);
      const double turned = dot(before, after);
      if (turned <= 0 || turned * turned < kMinCosine * kMinCosine * old_square * new_square) return false;
      double longest = 0;
      for (int k = 0; k < 3; ++k) {
        const Point side = minus(points_[face[(k + 1) % 3]], points_[face[k]]);
        longest = std::max(longest, dot(side, side));
      }
      if (new_square < kMinShape * longest * longest && new_square < old_square) return false;
    }
    return true;
  }

  void collapse(int32_t from, int32_t to) {
    for (int32_t f : fans_[from]) {
      auto& face = faces_[f];
      if (face[0] == to || face[1] == to || face[2] == to) {
        alive_[f] = false;
        --left_;
        for (int32_t v : face) {
          if (v != from) fans_[v].erase(std::find(fans_[v].begin(), fans_[v].end(), f));
        }
      } else {
        for (int32_t& v : face) {
          if (v == from) v = to;
        }
        fans_[to].push_back(f);
      }
    }
    fans_[from].clear();
    for (int i = 0; i < 10; ++i) quadrics_[to][i] += quadrics_[from][i];
    ++versions_[from];
    ++versions_[to];
    for (int32_t other : neighbors(to)) push(to, other);
  }

  std::vector<Point> points_;
  std::vector<std::array<int32_t, 3>> faces_;
  std::vector<bool> alive_;
  std::vector<std::vector<int32_t>> fans_;
  std::vector<Quadric> quadrics_;
  std::vector<bool> frozen_;
  std::vector<uint32_t> versions_;
  std::vector<uint32_t> marks_;
  uint32_t mark_ = 0;
  int64_t left_;
  std::priority_queue<Candidate> heap_;
};

Tensor collapse_edges(const Tensor& vertices, const Tensor& faces, int64_t max_faces) {
  std::vector<Point> points(vertices.size(0));
  dispatch_floating(vertices, "collapse_edges", [&](auto zero) {
    const auto* source = data<decltype(zero)>(vertices);
    for (size_t v = 0; v < points.size(); ++v) points[v] = {source[3 * v], source[3 * v + 1], source[3 * v + 2]};
  });
  const int32_t* id = data<int32_t>(faces);
  std::vector<std::array<int32_t, 3>> triangles(faces.size(0));
  for (size_t f = 0; f < triangles.size(); ++f) triangles[f] = {id[3 * f], id[3 * f + 1], id[3 * f + 2]};
  Collapser collapser(std::move(points), std::move(triangles));
  collapser.run(max_faces);
  const std::vector<int32_t> left = collapser.faces();
  Tensor result = empty_like_of(faces, {static_cast<int64_t>(left.size()) / 3, 3});
  std::copy(left.begin(), left.end(), mutable_data<int32_t>(result));
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) { m.impl("collapse_edges", TORCH_BOX(&collapse_edges)); }

}  // namespace tetragan
