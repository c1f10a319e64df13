// The question browser. Everything from datasets and models is set as text, never as HTML.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const datasets = JSON.parse(byId("browser-data").textContent);
  const meanings = Object.fromEntries([...byId("show").options].map((option) => [option.value, option.textContent]));
  const state = { dataset: 0, ranker: 0, chosen: null };

  function element(tag, properties = {}, children = []) {
    const node = document.createElement(tag);
    Object.assign(node, properties);
    node.append(...children);
    return node;
  }
  const text = (tag, content, className = "") => element(tag, { textContent: content, className });
  const number = (value) => (value === null || value === undefined ? "–" : value.toFixed(3));

  function fillOptions(select, names) {
    select.replaceChildren(...names.map((name, index) => element("option", { value: index, textContent: name })));
  }

  function matches(question) {
    const failures = question.rankers[state.ranker].failures;
    const wanted = byId("show").value;
    const words = byId("search").value.toLowerCase();
    return (
      (wanted === "" || (wanted === "any" ? failures.length > 0 : failures.includes(wanted))) &&
      `${question.question} ${question.answer} ${question.id}`.toLowerCase().includes(words)
    );
  }

  function tags(failures) {
    if (failures.length === 0) return [text("span", "no failure", "tag good")];
    return failures.map((failure) => text("span", meanings[failure], "tag bad"));
  }

  // The address tells what is shown, so that a question can be linked to: #show=missed&question=q7.
  function readAddress() {
    const address = new URLSearchParams(location.hash.slice(1));
    const position = (names, key, fallback) => Math.max(names.indexOf(address.get(key) ?? fallback), 0);
    state.dataset = position(datasets.map((dataset) => dataset.name), "dataset");
    const { rankers, questions } = datasets[state.dataset];
    state.ranker = position(rankers, "ranker", rankers.at(-1));
    state.chosen = questions.find((question) => question.id === address.get("question")) ?? null;
    if (address.get("show") in meanings) byId("show").value = address.get("show");
  }

  function writeAddress() {
    const { name, rankers } = datasets[state.dataset];
    const address = new URLSearchParams({ dataset: name, ranker: rankers[state.ranker], show: byId("show").value });
    if (state.chosen) address.set("question", state.chosen.id);
    history.replaceState(null, "", `#${address}`);
  }

  function showList() {
    const dataset = datasets[state.dataset];
    const shown = dataset.questions.filter(matches);
    if (!shown.includes(state.chosen)) state.chosen = shown[0] ?? null;
    byId("list").replaceChildren(...shown.map((question) => {
      const ranker = question.rankers[state.ranker];
      const failed = ranker.failures.length ? `${ranker.failures.length} failure(s)` : "no failure";
      const button = element("button", { type: "button" }, [
        question.question,
        text("small", `${question.category} · ${dataset.metric} ${number(ranker.ndcg)} · ${failed}`),
      ]);
      button.setAttribute("aria-current", String(question === state.chosen));
      button.addEventListener("click", () => { state.chosen = question; showList(); writeAddress(); byId("detail").focus(); });
      return element("li", {}, [button]);
    }));
    const omitted = dataset.omitted ? `; ${dataset.omitted} better ones are left out of this page` : "";
    byId("count").textContent = `${shown.length} of ${dataset.questions.length} questions${omitted}`;
    showDetail();
  }

  const leftOut = ({ text: content, cut }) =>
    cut ? `${content}\n… ${cut} more characters are left out of this page` : content;

  // What each step saw of a session, in the order of the steps.
  function steps(dataset, question, ranker, id) {
    const { scores, likelihood } = question.steps[id];
    const item = ranker.sessions[id];
    const coarse = scores.map(([score, rank], place) => `${dataset.methods[place]} ${rank} (${number(score)})`);
    const facts = [["coarse ranks (scores)", coarse.join(" · ")]];
    if (likelihood !== undefined) {
      const read = `log-likelihood of the question ${number(likelihood)} nats`;
      facts.push(["likelihood", likelihood === null ? "not read" : read]);
    }
    const ranked = [];
    if (item.candidate) ranked.push(`candidate ${item.candidate} of ${ranker.candidates}`);
    else if (ranker.candidates) ranked.push("not among the candidates");
    if (item.own) ranked.push(`place ${item.own} in its own order`);
    if (item.score !== null) ranked.push(`score ${number(item.score)}`);
    if (item.probability !== null) ranked.push(`probability ${number(item.probability)}`);
    facts.push(["ranker", ranked.join(" · ")]);
    facts.push(["final rank", `${item.rank}, ${item.read ? "read" : "not read"} by the working LLM`]);
    return element("dl", {}, facts.flatMap(([name, value]) => [text("dt", name), text("dd", value)]));
  }

  function session(dataset, question, ranker, id, notes) {
    const whole = dataset.sessions[`${question.haystack}/${id}`];
    const gold = question.gold.includes(id);
    const title = [text("span", id, gold ? "good" : ""), text("small", ` ${whole.date} · ${notes}`)];
    if (gold) title.push(text("span", "gold", "tag good"));
    const parts = [element("summary", {}, title), steps(dataset, question, ranker, id)];
    const { candidate, excerpt } = ranker.sessions[id];
    if (typeof excerpt === "number") {
      parts.push(text("h5", "As the ranker saw it"), text("pre", leftOut(dataset.excerpts[excerpt])));
      const all = [text("summary", "The whole session"), text("pre", leftOut(whole))];
      parts.push(element("details", {}, all));
    } else {
      const unknown = candidate && excerpt === undefined;
      if (unknown) parts.push(text("p", "What the ranker saw of it is not shown: its model is not in this checkout.", "muted"));
      const seen = candidate && !unknown ? "The whole session, as the ranker saw it" : "The whole session";
      parts.push(text("h5", seen), text("pre", leftOut(whole)));
    }
    return element("details", { className: "session" }, parts);
  }

  function rankedNotes(dataset, question, ranker, id) {
    const item = ranker.sessions[id];
    const [, coarse] = question.steps[id].scores[dataset.methods.indexOf("coarse")];
    const parts = [`rank ${item.rank}`, `coarse ${coarse}`];
    if (ranker.candidates && !item.candidate) parts.push("not read by the ranker");
    if (item.score !== null) parts.push(`score ${number(item.score)}`);
    if (item.probability !== null) parts.push(`probability ${number(item.probability)}`);
    if (item.read) parts.push("read by the working LLM");
    return parts.join(" · ");
  }

  function showDetail() {
    const detail = byId("detail");
    const question = state.chosen;
    if (question === null) {
      detail.replaceChildren(text("p", "No question matches.", "muted"));
      return;
    }
    const dataset = datasets[state.dataset];
    const ranker = question.rankers[state.ranker];
    const verdict = ranker.failures.includes("wrong") ? "bad" : "good";
    const scores = Object.entries(ranker.scores).map(([name, value]) => `${name} ${number(value)}`).join(", ");
    const facts = element("dl", {}, [
      text("dt", "asked"), text("dd", [question.date, question.category, question.id].filter(Boolean).join(" · ")),
      text("dt", "reference answer"), text("dd", question.answer || "(none)"),
      text("dt", "answer"), text("dd", ranker.answer || "(empty)", scores && verdict),
      text("dt", "answer scores"), text("dd", scores || "none is defined"),
      text("dt", dataset.metric), text("dd", `${number(ranker.ndcg)}; coarse filter ${number(question.coarse_ndcg)}`),
    ]);
    const gold = question.gold.map((id) => session(dataset, question, ranker, id, ranker.reasons[id]));
    const ranked = ranker.ranking.map((id) =>
      session(dataset, question, ranker, id, rankedNotes(dataset, question, ranker, id)));
    detail.replaceChildren(
      text("h3", question.question), element("p", {}, tags(ranker.failures)), facts,
      text("h4", "Gold sessions, and what became of them"), ...(gold.length ? gold : [text("p", "None is known.", "muted")]),
      text("h4", `What the ranker wrote (${ranker.parse_status})`), text("pre", ranker.response || "(nothing)"),
      text("h4", `The first ${ranked.length} sessions of its ranking, and what each step saw of them`), ...ranked,
    );
  }

  function fillRankers() {
    fillOptions(byId("ranker"), datasets[state.dataset].rankers);
    byId("ranker").value = state.ranker;
  }

  function onChange(id, react) {
    byId(id).addEventListener("input", () => { react(); showList(); writeAddress(); });
  }

  readAddress();
  fillOptions(byId("dataset"), datasets.map((dataset) => dataset.name));
  byId("dataset").value = state.dataset;
  fillRankers();
  onChange("dataset", () => {
    state.dataset = Number(byId("dataset").value);
    state.ranker = datasets[state.dataset].rankers.length - 1;
    fillRankers();
  });
  onChange("ranker", () => { state.ranker = Number(byId("ranker").value); });
  onChange("show", () => {});
  onChange("search", () => {});
  byId("browser").hidden = false;
  showList();
})();
