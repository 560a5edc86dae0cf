add_executable(dump_decoded ${PROJECT_SOURCE_DIR}/tests/images/dump_decoded.cpp)
target_link_libraries(dump_decoded PRIVATE pb_images)
pb_script_test(parity.images parity 300 ${CMAKE_CURRENT_SOURCE_DIR}/images_parity.py $<TARGET_FILE:dump_decoded>)
pb_script_test(parity.h5py parity 120 ${PROJECT_SOURCE_DIR}/tests/shards/read_with_h5py.py)
