// `lfd_distance` on the CPU: descriptors are repacked so that one SIMD instruction compares eight views by eight bytes.
#include "lfd_distance/lfd_distance.h"

#include "common/cpu.h"
#include "common/isa.h"

TETRAGAN_DECLARE(int32_t, light_field_distance,
                 (const uint8_t* a, const uint8_t* b, const uint16_t* alignments, const uint8_t* shuffles))

namespace tetragan {

namespace {

using namespace lfd;

constexpr int64_t kPaddedViews = 104, kAlignmentSlots = 64;
constexpr int64_t kPackedBytes = kShapeViews * kPackedView, kGroupedBytes = kPaddedViews * kPackedView;
// Shapes of b that one task compares with one shape of a.
constexpr int64_t kPairsPerTask = 64;

// Each shape's views one after the other: [100][64].
std::vector<uint8_t> packed(const Tensor& descriptors) {
  const int64_t shapes = descriptors.size(0);
  std::vector<uint8_t> out(shapes * kPackedBytes);
  for (int64_t view = 0; view < shapes * kShapeViews; ++view) {
    pack_view(data<uint8_t>(descriptors) + view * kViewBytes, out.data() + view * kPackedView);
  }
  return out;
}

// [13 groups of 8 views][8 octets][8 views][8 bytes]; missing views are zero and never used.
std::vector<uint8_t> grouped(const std::vector<uint8_t>& views) {
  const int64_t shapes = static_cast<int64_t>(views.size()) / kPackedBytes;
  std::vector<uint8_t> out(shapes * kGroupedBytes, 0);
  for (int64_t shape = 0; shape < shapes; ++shape) {
    for (int64_t view = 0; view < kShapeViews; ++view) {
      const uint8_t* from = views.data() + shape * kPackedBytes + view * kPackedView;
      uint8_t* to = out.data() + shape * kGroupedBytes + view / 8 * 8 * kPackedView + view % 8 * 8;
      for (int64_t byte = 0; byte < kPackedView; ++byte) to[byte / 8 * 64 + byte % 8] = from[byte];
    }
  }
  return out;
}

// The alignments by view, as 16-bit indices and as byte shuffles; the first one fills the free slots.
struct Alignments {
  std::vector<uint16_t> indices;
  std::vector<uint8_t> shuffles;

  explicit Alignments(const Tensor& table) : indices(kFieldViews * kAlignmentSlots), shuffles(kFieldViews * 4 * kAlignmentSlots) {
    const uint8_t* rows = data<uint8_t>(table);
    for (int64_t view = 0; view < kFieldViews; ++view) {
      for (int64_t slot = 0; slot < kAlignmentSlots; ++slot) {
        const uint8_t target = rows[(slot < table.size(0) ? slot : 0) * kFieldViews + view];
        indices[view * kAlignmentSlots + slot] = target;
        for (int64_t byte = 0; byte < 2; ++byte) {
          uint8_t* masks = shuffles.data() + view * 4 * kAlignmentSlots + 2 * slot + byte;
          masks[0] = target < 8 ? static_cast<uint8_t>(2 * target + byte) : 0x80;
          masks[2 * kAlignmentSlots] = target < 8 ? 0x80 : static_cast<uint8_t>(2 * (target - 8) + byte);
        }
      }
    }
  }
};

Tensor lfd_distance(const Tensor& a, const Tensor& b, const Tensor& alignments) {
  const int64_t rows = a.size(0), columns = b.size(0), groups = (columns + kPairsPerTask - 1) / kPairsPerTask;
  Tensor result = empty_like_of(a, {rows, columns}, ScalarType::Int);
  int32_t* out = mutable_data<int32_t>(result);
  const std::vector<uint8_t> own = packed(a), other = grouped(packed(b));
  const Alignments table(alignments);
  parallel_tasks(rows * groups, [&](int64_t task) {
    const int64_t row = task / groups, begin = task % groups * kPairsPerTask;
    for (int64_t column = begin; column < std::min(begin + kPairsPerTask, columns); ++column) {
      out[row * columns + column] =
          TETRAGAN_CALL(light_field_distance, (own.data() + row * kPackedBytes, other.data() + column * kGroupedBytes,
                                               table.indices.data(), table.shuffles.data()));
    }
  });
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) { m.impl("lfd_distance", TORCH_BOX(&lfd_distance)); }

}  // namespace tetragan
