// Sends texts between ranks.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"

namespace pixelbert::comm {

// Collective. Returns rank `root`'s text.
std::string broadcast_text(const std::string& text, Communicator& control, int root = 0);

// Collective. Returns the texts of all ranks, in rank order.
std::vector<std::string> gather_texts(const std::string& own, Communicator& control);

}  // namespace pixelbert::comm
