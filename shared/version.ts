/** The one version of all programs: package.json's. */
import packageJson from "../package.json" with { type: "json" };

export const version = packageJson.version;

/** How a program names itself in a hello. */
export const software = `${packageJson.name} ${version}`;
