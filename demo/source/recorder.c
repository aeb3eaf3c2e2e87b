/* The demo's application: a recorder that names its segments and estimates motion between two small frames.
   Compiled twice by make.sh, as version 1.0 and as version 2.0 (-DVERSION_2), to have two real binaries that are related. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 64, HEIGHT = 36, BLOCK = 4 };

static uint32_t seed = 20260101;

static uint32_t next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  seed ^= seed << 5;
  return seed;
}

static void fill_frame(uint8_t frame[HEIGHT][WIDTH], int shift) {
  for (int y = 0; y < HEIGHT; y++)
    for (int x = 0; x < WIDTH; x++) frame[y][x] = (uint8_t)(((x + shift) * 7 + y * 13) ^ (next_random() & 3));
}

static unsigned block_difference(uint8_t a[HEIGHT][WIDTH], uint8_t b[HEIGHT][WIDTH], int bx, int by, int dx) {
  unsigned sum = 0;
  for (int y = 0; y < BLOCK; y++)
    for (int x = 0; x < BLOCK; x++) {
      int ax = bx * BLOCK + x, ox = ax + dx;
      if (ox < 0 || ox >= WIDTH) return UINT32_MAX;
      sum += (unsigned)abs(a[by * BLOCK + y][ax] - b[by * BLOCK + y][ox]);
    }
  return sum;
}

static int motion(uint8_t a[HEIGHT][WIDTH], uint8_t b[HEIGHT][WIDTH]) {
  int votes[9] = {0};
  for (int by = 0; by < HEIGHT / BLOCK; by++)
    for (int bx = 0; bx < WIDTH / BLOCK; bx++) {
      unsigned best = UINT32_MAX;
      int best_dx = 0;
      for (int dx = -4; dx <= 4; dx++) {
        unsigned d = block_difference(a, b, bx, by, dx);
        if (d < best) best = d, best_dx = dx;
      }
      votes[best_dx + 4]++;
    }
  int winner = 0;
  for (int i = 1; i < 9; i++)
    if (votes[i] > votes[winner]) winner = i;
  return winner - 4;
}

#ifdef VERSION_2
/* New in 2.0: segments are sealed with a checksum, so a segment cut by a power failure is recognised. */
static uint32_t crc_of(const uint8_t *bytes, size_t n) {
  uint32_t crc = 0xffffffffu;
  for (size_t i = 0; i < n; i++) {
    crc ^= bytes[i];
    for (int k = 0; k < 8; k++) crc = crc & 1 ? (crc >> 1) ^ 0xedb88320u : crc >> 1;
  }
  return ~crc;
}
#endif

int main(int argc, char **argv) {
  static uint8_t first[HEIGHT][WIDTH], second[HEIGHT][WIDTH];
  int segments = argc > 1 ? atoi(argv[1]) : 3;
  for (int i = 0; i < segments; i++) {
    fill_frame(first, i);
    fill_frame(second, i + 2);
#ifdef VERSION_2
    printf("segment-%04d motion %+d seal %08x\n", i, motion(first, second), crc_of(&second[0][0], sizeof second));
#else
    printf("segment-%04d motion %+d\n", i, motion(first, second));
#endif
  }
  return 0;
}
