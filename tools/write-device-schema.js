/** Writes docs/device.schema.json from the schema that descriptions are checked with: `npm run build && node tools/write-device-schema.js`. */
import { writeFileSync } from "node:fs";
import { deviceJsonSchema } from "../dist/device/index.js";

writeFileSync(
  new URL("../docs/device.schema.json", import.meta.url),
  `${JSON.stringify(deviceJsonSchema(), undefined, 2)}\n`,
);
