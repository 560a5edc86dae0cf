#include "config/nearest_name.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace pixelbert::config {

std::string nearest_name(std::string_view name, const std::vector<std::string>& known) {
  const auto distance = [](std::string_view a, std::string_view b) {  // Levenshtein, one row at a time
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
      std::size_t diagonal = std::exchange(row[0], i);
      for (std::size_t j = 1; j <= b.size(); ++j) {
        const std::size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
      }
    }
    return row.back();
  };
  std::string best;
  std::size_t fewest = std::max<std::size_t>(3, name.size() / 3) + 1;
  for (const std::string& candidate : known) {
    // The section may have been left out: "--layers" for "--model.layers".
    const std::string_view last = std::string_view(candidate).substr(candidate.rfind('.') + 1);
    const std::size_t edits = std::min(distance(name, candidate), distance(name, last) + 1);
    if (edits < fewest) {
      fewest = edits;
      best = candidate;
    }
  }
  return best;
}

}  // namespace pixelbert::config
