// Keeps the page true: takes over what the daemon sends, counts the ages on, and says so when the
// news stop. Without this script the page renews itself every ten seconds.
"use strict";
(() => {
  const live = document.getElementById("live");
  const age = document.getElementById("age");
  const stale = document.getElementById("stale");
  const query = document.getElementById("q");
  const SILENCE_MS = 15000, STALE_MS = 30000, POLL_MS = 10000, PAUSE_MS = 15000;
  let shownAt = Date.now(); // when the daemon made what is shown, by this clock
  let madeAt = Date.now(); // when it made what was heard last
  let heardAt = Date.now(); // when the daemon last said anything
  let skew = 0; // the daemon's clock minus ours
  let waiting = null; // news that wait until nothing is selected, but not for long
  let waitingSince = 0;
  let events = null;

  const span = (ms) => {
    const s = Math.max(0, Math.floor(ms / 1000));
    const d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
    if (d) return `${d} d ${h} h`;
    if (h) return `${h} h ${m} min`;
    return m ? `${m} min ${s % 60} s` : `${s} s`;
  };

  const tick = () => {
    const now = Date.now();
    if (waiting && (!selected() || now - waitingSince > PAUSE_MS)) show(waiting);
    for (const time of live.getElementsByTagName("time")) {
      const away = now + skew - Date.parse(time.dateTime);
      time.textContent = away >= 0 ? `${span(away)} ago` : `in ${span(-away)}`;
    }
    age.textContent = `${waiting ? "paused: text is selected; " : ""}updated ${span(now - shownAt)} ago`;
    const silent = now - heardAt > SILENCE_MS;
    stale.hidden = !silent && now - madeAt <= STALE_MS;
    if (!stale.hidden) {
      stale.textContent = silent
        ? `✖ No word from the daemon for ${span(now - heardAt)}: what you see is old.`
        : `✖ The daemon has not renewed its state for ${span(now - madeAt)}: it hangs.`;
    }
  };

  // What somebody is about to copy stays where it is, for a while.
  const selected = () => {
    const selection = getSelection();
    return !selection.isCollapsed && selection.getRangeAt(0).intersectsNode(live);
  };

  const show = (news) => {
    waiting = null;
    shownAt = news.madeAt;
    live.innerHTML = news.html;
  };

  const wait = (news) => {
    if (!waiting) waitingSince = heardAt;
    waiting = news;
    // How it is all in all is true all the same.
    const next = document.createElement("div");
    next.innerHTML = news.html;
    document.getElementById("headline").replaceWith(next.querySelector("#headline"));
  };

  const hear = (news) => {
    heardAt = Date.now();
    madeAt = heardAt - news.age_ms;
    if (news.now_ms) skew = news.now_ms - heardAt;
    if (news.html === undefined) {
      // Nothing new: what was heard last is as old as this says.
      if (waiting) waiting.madeAt = madeAt;
      else shownAt = madeAt;
    } else {
      news.madeAt = madeAt;
      document.title = news.title;
      if (selected()) wait(news);
      else show(news);
    }
    tick();
  };

  const asked = () => {
    const more = new URLSearchParams(location.search).has("more") ? "&more=1" : "";
    return `q=${encodeURIComponent(query.value)}${more}`;
  };

  const listen = () => {
    if (events) events.close();
    events = new EventSource(`live?${asked()}`);
    for (const kind of ["page", "beat"]) events.addEventListener(kind, (event) => hear(JSON.parse(event.data)));
    // A browser tries again by itself, unless it was turned away: then too many watch.
    events.onerror = () => {
      if (events.readyState === EventSource.CLOSED) setTimeout(poll, POLL_MS);
    };
  };

  const poll = async () => {
    try {
      const answer = await fetch(`live.json?${asked()}`);
      if (answer.ok) hear(await answer.json());
    } catch {
      // The banner says how long there was no word.
    }
    listen();
  };

  let typing = 0;
  query.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(listen, 150);
  });
  query.form.addEventListener("submit", (event) => {
    event.preventDefault();
    listen();
  });
  setInterval(tick, 1000);
  listen();
})();
