// `lfd_descriptor` on the CPU: region, contour, circularity and eccentricity of every view; a task owns one light field.
#include "lfd_descriptor/lfd_descriptor.h"

#include <complex>

#include "common/cpu.h"

namespace tetragan {

namespace lfd {

namespace {

constexpr double kPi = 3.14159265358979323846;

// The basis functions on their table: [36][101 · 101], real parts then imaginary parts; computed once.
struct Basis {
  std::vector<double> real, imaginary;

  Basis() : real(kAngular * kRadial * kTable * kTable), imaginary(real.size()) {
    for (int p = 0; p < kAngular; ++p) {
      for (int r = 0; r < kRadial; ++r) {
        for (int y = 0; y < kTable; ++y) {
          for (int x = 0; x < kTable; ++x) {
            const double dx = x - kTableCenter, dy = y - kTableCenter, radius = std::sqrt(dx * dx + dy * dy);
            const size_t place = (static_cast<size_t>(p * kRadial + r) * kTable + y) * kTable + x;
            const double wave = radius < kTableCenter ? std::cos(kPi * r * radius / kTableCenter) : 0;
            const double angle = std::atan2(dy, dx);
            real[place] = wave * std::cos(p * angle);
            imaginary[place] = wave * std::sin(p * angle);
          }
        }
      }
    }
  }
};

const Basis& basis() {
  static const Basis table;
  return table;
}

// Position in the table: cell and the share of the next one.
struct Place {
  int32_t cell;
  double next;

  Place(double offset, double radius) {
    const double at = kTableCenter + offset * kTableCenter / radius;
    cell = std::min(kTable - 2, static_cast<int32_t>(std::floor(at)));
    next = at - cell;
  }
};

}  // namespace

Shape measure(const std::vector<Run>& runs) {
  Shape shape;
  for (const Run& run : runs) {
    shape.pixels += run.end - run.begin;
    shape.low_x = std::min(shape.low_x, run.begin);
    shape.high_x = std::max(shape.high_x, run.end - 1);
    shape.low_y = std::min(shape.low_y, run.y);
    shape.high_y = std::max(shape.high_y, run.y);
  }
  if (shape.pixels == 0) return shape;
  // Twice the offsets from the center are integers, so the moments are exact.
  const int64_t middle_x = shape.low_x + shape.high_x, middle_y = shape.low_y + shape.high_y;
  int64_t xx = 0, yy = 0, xy = 0, farthest = 0;
  for (const Run& run : runs) {
    const int64_t dy = 2 * run.y - middle_y, n = run.end - run.begin;
    int64_t sum = 0;
    for (int64_t x = run.begin; x < run.end; ++x) {
      const int64_t dx = 2 * x - middle_x;
      sum += dx;
      xx += dx * dx;
    }
    yy += n * dy * dy;
    xy += sum * dy;
    for (const int64_t x : {static_cast<int64_t>(run.begin), static_cast<int64_t>(run.end - 1)}) {
      const int64_t dx = 2 * x - middle_x;
      farthest = std::max(farthest, dx * dx + dy * dy);
    }
  }
  shape.center_x = 0.5 * static_cast<double>(middle_x);
  shape.center_y = 0.5 * static_cast<double>(middle_y);
  shape.radius = 0.5 * std::sqrt(static_cast<double>(farthest));
  const double difference = static_cast<double>(xx - yy), mixed = static_cast<double>(xy), total = static_cast<double>(xx + yy);
  shape.eccentricity = total > 0 ? std::min(1.0, (difference * difference + 4 * mixed * mixed) / (total * total)) : 0;
  return shape;
}

double circularity(const Bits& image, int64_t pixels) {
  // A pixel is inside when all its neighbors in the image are set; pixels outside the image count as set.
  const auto across = [&](int32_t y, std::vector<uint64_t>& out) {
    for (int32_t word = 0; word < image.words; ++word) {
      const uint64_t* row = image.row(y);
      const uint64_t before = word > 0 ? row[word - 1] >> 63 : 1;
      const uint64_t after = word + 1 < image.words ? row[word + 1] << 63 : uint64_t{1} << 63;
      out[word] = row[word] & (row[word] << 1 | before) & (row[word] >> 1 | after);
    }
  };
  std::vector<std::vector<uint64_t>> narrow(image.side, std::vector<uint64_t>(image.words));
  for (int32_t y = 0; y < image.side; ++y) across(y, narrow[y]);
  int64_t perimeter = 0;
  for (int32_t y = 0; y < image.side; ++y) {
    for (int32_t word = 0; word < image.words; ++word) {
      uint64_t inside = narrow[y][word];
      if (y > 0) inside &= narrow[y - 1][word];
      if (y + 1 < image.side) inside &= narrow[y + 1][word];
      perimeter += __builtin_popcountll(image.row(y)[word] & ~inside);
    }
  }
  if (perimeter == 0) return 0;
  return std::min(1.0, 4 * kPi * static_cast<double>(pixels) / (static_cast<double>(perimeter) * static_cast<double>(perimeter)));
}

void region_coefficients(const std::vector<Run>& runs, const Shape& shape, double radius, double* magnitudes) {
  // Sums over pixels of bilinear look-ups are sums over table cells of the weight that all pixels put on them.
  std::vector<double> weight(kTable * kTable, 0), across(kTable, 0);
  std::vector<Place> columns;
  for (int32_t x = shape.low_x; x <= shape.high_x; ++x) columns.emplace_back(x - shape.center_x, radius);
  for (size_t i = 0; i < runs.size();) {
    const int32_t y = runs[i].y;
    std::fill(across.begin(), across.end(), 0.0);
    for (; i < runs.size() && runs[i].y == y; ++i) {
      for (int32_t x = runs[i].begin; x < runs[i].end; ++x) {
        const Place& place = columns[x - shape.low_x];
        across[place.cell] += 1 - place.next;
        across[place.cell + 1] += place.next;
      }
    }
    const Place place(y - shape.center_y, radius);
    double *low = weight.data() + place.cell * kTable, *high = low + kTable;
    for (int x = 0; x < kTable; ++x) {
      low[x] += (1 - place.next) * across[x];
      high[x] += place.next * across[x];
    }
  }
  const Basis& table = basis();
  for (int k = 1; k < kAngular * kRadial; ++k) {
    const double *cosine = table.real.data() + static_cast<size_t>(k) * kTable * kTable,
                 *sine = table.imaginary.data() + static_cast<size_t>(k) * kTable * kTable;
    double real[8] = {}, imaginary[8] = {};  // eight partial sums: the same order of addition for every vector width
    constexpr int kWhole = kTable * kTable / 8 * 8;
    for (int cell = 0; cell < kWhole; cell += 8) {
      for (int lane = 0; lane < 8; ++lane) {
        real[lane] += weight[cell + lane] * cosine[cell + lane];
        imaginary[lane] += weight[cell + lane] * sine[cell + lane];
      }
    }
    double re = weight[kWhole] * cosine[kWhole], im = weight[kWhole] * sine[kWhole];
    for (int lane = 0; lane < 8; ++lane) {
      re += real[lane];
      im += imaginary[lane];
    }
    magnitudes[k - 1] = std::sqrt(re * re + im * im) / static_cast<double>(shape.pixels);
  }
}

void contour_coefficients(const Bits& image, const Shape& shape, double* magnitudes) {
  std::fill(magnitudes, magnitudes + kContourCoefficients, 0.0);
  const std::vector<Pixel> contour = whole_contour(image, shape);
  const size_t count = contour.size();
  if (count < 8) return;
  std::vector<double> distance(count), cosine(count), sine(count);
  double mean = 0;
  for (size_t i = 0; i < count; ++i) {
    const double dx = contour[i].x - shape.center_x, dy = contour[i].y - shape.center_y;
    distance[i] = std::sqrt(dx * dx + dy * dy);
    mean += distance[i];
    const double angle = 2 * kPi * static_cast<double>(i) / static_cast<double>(count);
    cosine[i] = std::cos(angle);
    sine[i] = std::sin(angle);
  }
  for (int k = 1; k <= kContourCoefficients; ++k) {
    double real = 0, imaginary = 0;
    size_t phase = 0;
    for (size_t i = 0; i < count; ++i) {
      real += distance[i] * cosine[phase];
      imaginary -= distance[i] * sine[phase];
      phase += static_cast<size_t>(k);
      if (phase >= count) phase %= count;
    }
    magnitudes[k - 1] = std::sqrt(real * real + imaginary * imaginary) / mean;
  }
}

namespace {

Bits read_bits(const uint8_t* bytes, int32_t side) {
  Bits image(side);
  for (size_t word = 0; word < image.rows.size(); ++word) {
    for (int byte = 0; byte < 8; ++byte) image.rows[word] |= static_cast<uint64_t>(bytes[8 * word + byte]) << (8 * byte);
  }
  return image;
}

void describe_view(const Bits& image, const std::vector<Run>& runs, const Shape& shape, double radius, uint8_t* out) {
  std::fill(out, out + kDescriptorBytes, uint8_t{0});
  if (shape.pixels == 0) return;
  double values[kRegionCoefficients];
  // A single pixel has no extent; the center of the table represents it.
  region_coefficients(runs, shape, radius > 0 ? radius : 1, values);
  for (int k = 0; k < kRegionCoefficients; ++k) out[k] = to_byte(values[k], 256);
  contour_coefficients(image, shape, values);
  for (int k = 0; k < kContourCoefficients; ++k) out[kRegionCoefficients + k] = to_byte(values[k], 512);
  out[kRegionCoefficients + kContourCoefficients] = to_byte(circularity(image, shape.pixels), 256);
  out[kRegionCoefficients + kContourCoefficients + 1] = to_byte(shape.eccentricity, 256);
}

void describe_field(const uint8_t* silhouettes, int64_t views, int32_t side, uint8_t* out) {
  std::vector<Bits> images;
  std::vector<std::vector<Run>> runs;
  std::vector<Shape> shapes;
  double radius = 0;
  for (int64_t view = 0; view < views; ++view) {
    images.push_back(read_bits(silhouettes + view * side * side / 8, side));
    runs.push_back(runs_of(images.back()));
    shapes.push_back(measure(runs.back()));
    radius = std::max(radius, shapes.back().radius);
  }
  for (int64_t view = 0; view < views; ++view) {
    describe_view(images[view], runs[view], shapes[view], radius, out + view * kDescriptorBytes);
  }
}

}  // namespace

}  // namespace lfd

namespace {

Tensor lfd_descriptor(const Tensor& silhouettes) {
  const int64_t fields = silhouettes.size(0), views = silhouettes.size(1);
  const int32_t side = static_cast<int32_t>(silhouettes.size(2));
  Tensor result = empty_like_of(silhouettes, {fields, views, lfd::kDescriptorBytes});
  const uint8_t* images = data<uint8_t>(silhouettes);
  uint8_t* out = mutable_data<uint8_t>(result);
  lfd::basis();
  parallel_tasks(fields, [&](int64_t field) {
    lfd::describe_field(images + field * views * side * side / 8, views, side, out + field * views * lfd::kDescriptorBytes);
  });
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(tetragan, CPU, m) { m.impl("lfd_descriptor", TORCH_BOX(&lfd_descriptor)); }

}  // namespace tetragan
