/** `packages.*`: what users install, against the same programs under node. */
import { join } from "node:path";
import { buildAll } from "../../../packaging/build-all.ts";
import { projectRoot, readRelease } from "../../../packaging/release.ts";
import type { Figure } from "../figure.ts";
import type { Progress } from "../progress.ts";
import { idleMemoryFigures } from "./idle-memory.ts";
import { sizeFigures } from "./sizes.ts";
import { startFigures } from "./start.ts";

/** Makes the packages of this work tree first, as `npm run package` does, in the same place. */
export async function packagesFigures(progress: Progress): Promise<Figure[]> {
  const outDir = join(projectRoot, "build");
  const packages = await buildAll({ outDir, release: await readRelease(process.env), log: progress });
  const executables = join(outDir, "executables");
  return [
    ...(await startFigures(executables, progress)),
    ...(await sizeFigures(packages)),
    ...(await idleMemoryFigures(executables, join(outDir, "bundles"), progress)),
  ];
}
