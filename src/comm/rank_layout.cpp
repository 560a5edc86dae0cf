#include "comm/rank_layout.h"

#include <algorithm>
#include <map>

namespace pixelbert::comm {

RankLayout::RankLayout(const std::vector<int>& host_of_rank, int rank) {
  std::map<int, std::size_t> number;  // of a host, in the order of its first rank
  for (std::size_t i = 0; i < host_of_rank.size(); ++i) {
    const auto [host, is_new] = number.emplace(host_of_rank[i], hosts.size());
    if (is_new) hosts.emplace_back();
    hosts[host->second].push_back(static_cast<int>(i));
  }
  const auto unlike_first = [&](const std::vector<int>& host) { return host.size() != hosts[0].size(); };
  if (std::ranges::any_of(hosts, unlike_first)) {
    hosts.clear();
    for (std::size_t i = 0; i < host_of_rank.size(); ++i) hosts.push_back({static_cast<int>(i)});
  }

  for (std::size_t host = 0; host < hosts.size(); ++host) {
    const auto found = std::ranges::find(hosts[host], rank);
    if (found == hosts[host].end()) continue;
    in_host = {.ranks = hosts[host], .me = static_cast<int>(found - hosts[host].begin())};
    across.me = static_cast<int>(host);
  }
  for (const std::vector<int>& host : hosts) across.ranks.push_back(host[static_cast<std::size_t>(in_host.me)]);
}

Range RankLayout::slice(std::int64_t size, int rank) const {
  for (std::size_t host = 0; host < hosts.size(); ++host) {
    const auto found = std::ranges::find(hosts[host], rank);
    if (found == hosts[host].end()) continue;
    const Range slice = cut({0, size}, in_host.size())[static_cast<std::size_t>(found - hosts[host].begin())];
    return cut(slice, across.size())[host];
  }
  return {};
}

std::vector<Range> cut(Range whole, int parts) {
  const std::int64_t cells = (whole.size() + kCell - 1) / kCell;
  std::vector<Range> ranges;
  for (std::int64_t part = 0; part < parts; ++part) {
    const auto bound = [&](std::int64_t i) { return whole.begin + std::min(cells * i / parts * kCell, whole.size()); };
    ranges.push_back({.begin = bound(part), .end = bound(part + 1)});
  }
  return ranges;
}

}  // namespace pixelbert::comm
