/** Has a VM hang, whose command runs for long, and prints the failure's id; until it is killed. */
import { RecoveryScene } from "./recovery-scene.ts";

const [directory = "", script = ""] = process.argv.slice(2);

const scene = await RecoveryScene.open(directory, { script });
const { id } = await scene.happens("VM.HUNG");
console.log(id);
