/* Writes the demo camera's sensor tuning: gamma curves, a lens shading mesh and noise profiles, as little-endian u16 tables.
   argv[1] is the gamma times 100; a new version of the camera ships another gamma and keeps the rest. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void put16(double v) {
  unsigned n = v < 0 ? 0 : v > 65535 ? 65535 : (unsigned)(v + 0.5);
  putchar((int)(n & 255));
  putchar((int)(n >> 8));
}

int main(int argc, char **argv) {
  double gamma = (argc > 1 ? atoi(argv[1]) : 220) / 100.0;
  for (int gain = 0; gain < 4; gain++)
    for (int i = 0; i < 4096; i++) put16(65535 * pow(i / 4095.0, 1 / (gamma + gain * 0.02)));
  for (int channel = 0; channel < 4; channel++)
    for (int y = 0; y < 65; y++)
      for (int x = 0; x < 65; x++) {
        double dx = (x - 32) / 32.0, dy = (y - 32) / 32.0, r = dx * dx + dy * dy;
        put16(16384 * (1 + (0.31 + 0.02 * channel) * r + 0.08 * r * r));
      }
  for (int iso = 100; iso <= 25600; iso *= 2)
    for (int level = 0; level < 1024; level++) put16(sqrt(level * iso * 0.04 + iso) * 16);
  return 0;
}
