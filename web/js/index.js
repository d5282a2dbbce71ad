/** The front page: the form, the latest submission, and the catalogue. */

import { Catalogue } from "./catalogue.js";
import { wireForm } from "./form.js";
import { Submission } from "./submission.js";

const byId = (id) => document.getElementById(id);

const catalogue = new Catalogue({
  list: byId("catalogue"),
  empty: byId("catalogue-empty"),
  more: byId("catalogue-more"),
  status: byId("filter-status"),
  search: byId("filter-search"),
  collection: byId("catalogue-collection"),
  problem: byId("catalogue-problem"),
});
const submission = new Submission(byId("submission"));

wireForm(byId("submit"), {
  onCreated(created, name) {
    submission.show(created, name);
    catalogue.refresh();
  },
});

catalogue.load();
