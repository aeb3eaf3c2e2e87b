/** The progress screen of an upgrade: vendor progress model, geometry, painting. */
export { screenItems } from "./geometry.ts";
export type { Bar, Caption, LayerShape, ScreenStyle } from "./geometry.ts";
export { fontScale, openScreen, screenProgress } from "./screen.ts";
export type { Screen, ScreenOptions, ScreenProgress } from "./screen.ts";
export {
  FIRST_PROGRESS,
  PROGRESS_STATE,
  failedProgress,
  isFailed,
  mainText,
  nextProgress,
  plainLine,
  subText,
} from "./vendor-progress.ts";
export type { VendorProgress } from "./vendor-progress.ts";
