// Texts between ranks.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"

namespace pixelbert::comm {

// Collective. Rank `root`'s text on every rank.
std::string broadcast_text(const std::string& text, Communicator& control, int root = 0);

// Collective. Every rank's text on every rank, in the order of the ranks.
std::vector<std::string> gather_texts(const std::string& own, Communicator& control);

}  // namespace pixelbert::comm
