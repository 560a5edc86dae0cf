# Published weights, imported: torchvision's, transformers' and detectron2's outputs.
add_executable(run_published_weights ${CMAKE_CURRENT_SOURCE_DIR}/run_published_weights.cpp)
target_link_libraries(run_published_weights PRIVATE pb_jobs)
pb_reuse_test_header(run_published_weights)
pb_script_test(parity.published_weights parity 600 published_weights.py $<TARGET_FILE:run_published_weights>)
