// @ts-check
/** Puts the page together. Every part draws itself from the `App` when that says `change`. */

import { Aim } from "./aim.js";
import { App } from "./app.js";
import { ClassField } from "./classfield.js";
import { Compare } from "./compare.js";
import { byId } from "./dom.js";
import { Hints } from "./hints.js";
import { History } from "./history.js";
import { Intake } from "./intake.js";
import { Keys } from "./keys.js";
import { Marks } from "./marks.js";
import { Overlay } from "./overlay.js";
import { Panel } from "./panel.js";
import { Picture } from "./picture.js";
import { Pointer } from "./pointer.js";
import { Progress } from "./progress.js";
import { SettingsDialog } from "./settings.js";
import { Strip } from "./strip.js";
import { Talk } from "./talk.js";
import { Tint } from "./tint.js";
import { Toolbar } from "./toolbar.js";
import { View } from "./view.js";

if (location.hash.startsWith("#token=")) window.history.replaceState(null, "", location.pathname); // it has done its work

const app = new App();
const view = new View(byId("stage", HTMLElement));

new Talk(app);
new Toolbar(app, view);
new Picture(app, view);
const compare = new Compare(app, view);
const tint = new Tint(app, view);
const overlay = new Overlay(app, view);
const marks = new Marks(app, view);
const pointer = new Pointer(app, view, { tint, marks, compare });
new Aim(app, view, marks);
const settings = new SettingsDialog(app);
new Panel(app, overlay);
new Hints(app, () => settings.open());
new Progress(app);
const history = new History(app);
const nameField = new ClassField(app);
new Strip(app);
new Keys(app, { view, pointer, history, nameField });
new Intake(app);

const local = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
byId("where", HTMLElement).textContent = local
  ? "Photos stay on this computer."
  : `Photos go to ${location.host} and nowhere else, and are forgotten there after a while.`;
app.changed();
