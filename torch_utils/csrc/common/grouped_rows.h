// How packed rows are cut into tiles and pieces for common/grouped_product.cuh; for the bindings too.
#pragma once
#include <cstdint>
#include <vector>

namespace tetragan {
namespace grouped {

constexpr int kTileRows = 64;
constexpr int kPieceTiles = 32;  // tiles of a piece: rows whose products are summed by one block

// On the device: row offsets, tile offsets and piece offsets, [samples + 1] each.
struct Table {
  const int64_t* data;
  int32_t samples;
  int64_t tiles, pieces;
};

// The numbers of `Table`, on the host, from the row offsets [samples + 1].
inline std::vector<int64_t> table_of(const int64_t* offsets, int64_t samples) {
  std::vector<int64_t> table(offsets, offsets + samples + 1);
  for (const int64_t rows : {int64_t{kTileRows}, int64_t{kTileRows} * kPieceTiles}) {
    int64_t total = 0;
    for (int64_t s = 0; s < samples; ++s) {
      table.push_back(total);
      total += (offsets[s + 1] - offsets[s] + rows - 1) / rows;
    }
    table.push_back(total);
  }
  return table;
}

}  // namespace grouped
}  // namespace tetragan
