// The software bill of materials of a program, in CycloneDX's form (ECMA-424).
import { createHash } from "node:crypto";
import { Enums, Models, Serialize, Spec } from "@cyclonedx/cyclonedx-library";
import { npmPurl, type NpmPackage } from "./npm-packages.ts";
import type { RuntimePart } from "./node-runtime.ts";
import type { PermissiveLicence } from "./permissive.ts";
import type { ProgramContents } from "./program-contents.ts";

const { Application, Library, Platform } = Enums.ComponentType;

export interface SbomOptions {
  contents: ProgramContents;
  /** What makes it. */
  tool: NpmPackage;
  /** Seconds since 1970. */
  sourceDateEpoch: number;
}

/**
 * CycloneDX 1.6 as JSON: the program, the packages of npm's in it, its Node, and the libraries that this Node was built
 * with; who of them depends on whom, as far as its bundles tell. The same contents give the same text.
 */
export function sbomOf({ contents, tool, sourceDateEpoch }: SbomOptions): string {
  const program = programComponent(contents);
  const bom = new Models.Bom({
    metadata: new Models.Metadata({
      timestamp: new Date(sourceDateEpoch * 1000),
      lifecycles: new Models.LifecycleRepository([Enums.LifecyclePhase.Build]),
      component: program,
    }),
  });
  bom.metadata.tools.components.add(packageComponent(Application, tool));
  for (const component of packageComponents(contents, program)) bom.components.add(component);
  for (const component of runtimeComponents(contents, program)) bom.components.add(component);
  bom.serialNumber = serialNumberOf(serialize(bom));
  return serialize(bom);
}

function programComponent({ name, version }: ProgramContents): Models.Component {
  const purl = `pkg:generic/${name}@${encodeURIComponent(version)}`;
  return new Models.Component(Application, name, { bomRef: purl, purl, version, licenses: declared("Apache-2.0") });
}

function packageComponents({ packages }: ProgramContents, program: Models.Component): Models.Component[] {
  const components = new Map(packages.map((bundled) => [bundled, packageComponent(Library, bundled)]));
  for (const [{ isImportedDirectly, imports }, component] of components) {
    if (isImportedDirectly) program.dependencies.add(component.bomRef);
    for (const imported of imports) {
      const other = components.get(imported);
      if (other !== undefined) component.dependencies.add(other.bomRef);
    }
  }
  return [...components.values()];
}

function runtimeComponents({ runtime }: ProgramContents, program: Models.Component): Models.Component[] {
  const node = packageComponent(Platform, runtime.package);
  node.name = "node";
  node.cpe = runtime.cpe;
  program.dependencies.add(node.bomRef);
  const parts = runtime.parts.map(partComponent);
  for (const part of parts) node.dependencies.add(part.bomRef);
  return [node, ...parts];
}

function packageComponent(type: Enums.ComponentType, npmPackage: NpmPackage): Models.Component {
  const { name, version, purl, licence, sha512 } = npmPackage;
  const [bareName = "", group] = name.split("/").toReversed();
  return new Models.Component(type, bareName, {
    ...(group === undefined ? {} : { group }),
    bomRef: purl,
    purl,
    version,
    licenses: declared(licence),
    hashes: new Models.HashDictionary([[Enums.HashAlgorithm["SHA-512"], sha512]]),
  });
}

/** What is in Node may be in the program a second time, as a package: so it has references of its own. */
function partComponent({ name, version, licence, npmName, cpe }: RuntimePart): Models.Component {
  return new Models.Component(Library, name, {
    bomRef: `node:${name}@${version}`,
    version,
    licenses: declared(licence),
    ...(npmName === undefined ? {} : { purl: npmPurl(npmName, version) }),
    ...(cpe === undefined ? {} : { cpe }),
  });
}

function declared(licence: PermissiveLicence): Models.LicenseRepository {
  const license = new Models.SpdxLicense(licence);
  license.acknowledgement = Enums.LicenseAcknowledgement.Declared;
  return new Models.LicenseRepository([license]);
}

function serialize(bom: Models.Bom): string {
  const serializer = new Serialize.JsonSerializer(new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6));
  return `${serializer.serialize(bom, { sortLists: true, space: 2 })}\n`;
}

/** A UUID of version 8 (RFC 9562), which is made of what its maker likes: here of the document without it. */
function serialNumberOf(document: string): string {
  const bytes = createHash("sha256").update(document).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return `urn:uuid:${bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-")}`;
}
