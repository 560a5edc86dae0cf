// Memory that was freed, but not given back.
#pragma once

namespace pixelbert {

// Gives freed memory back to the system. For large memory that was freed in pieces and is needed in another size: the
// allocator would keep both.
void release_free_memory();

}  // namespace pixelbert
