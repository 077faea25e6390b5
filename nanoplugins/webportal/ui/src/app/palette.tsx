// Ctrl/⌘-K: go anywhere, find anything by free text.
import Input from "@cloudscape-design/components/input";
import Modal from "@cloudscape-design/components/modal";
import { useQuery } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate } from "react-router";
import { search } from "../api/queries";
import type { SearchHit } from "../api/types";
import { useFocusInDialog } from "../parts/focus";
import { PLACES } from "./navigation";

interface Entry {
  key: string;
  text: string;
  kind: string;
  href: string;
  /** The field that fits, when it is not the name. */
  where?: string;
}

/** Collections whose items have a page of their own; others are found in their list. */
const WITH_PAGES = new Set(["instances", "nodes", "compute-pools", "disk-images", "media-images", "storage-pools", "address-pools", "templates"]);

function entryOf(hit: SearchHit): Entry {
  const [, topic = "", id] = hit.path.split("/");
  const href = id && WITH_PAGES.has(topic) ? hit.path : `/${topic}?q=${encodeURIComponent(hit.name)}`;
  return { key: hit.id, text: hit.name || hit.id, kind: keyOf(topic), href, where: hit.text };
}

const keyOf = (topic: string) => PLACES.find((place) => place.href === `/${topic}`)?.key ?? "search";

export function Palette({ onClose }: { onClose(): void }) {
  const { t } = useTranslation(["shell", "common"]);
  const navigate = useNavigate();
  const [text, setText] = useState("");
  const [index, setIndex] = useState(0);
  const input = useRef<{ focus(): void }>(null);
  useFocusInDialog(input);
  const found = useQuery(search(text));
  const places: Entry[] = [...PLACES, { key: "createInstance", href: "/instances/create" }]
    .map((place) => ({ key: place.key, text: t(place.key), kind: "goTo", href: place.href }))
    .filter((entry) => entry.text.toLowerCase().includes(text.toLowerCase()));
  const entries = [...(text ? (found.data?.items ?? []).map(entryOf) : []), ...places];
  const choose = (entry: Entry | undefined) => {
    if (!entry) return;
    onClose();
    void navigate(entry.href);
  };
  const move = (key: string) => {
    if (key === "ArrowDown") setIndex((index + 1) % Math.max(1, entries.length));
    if (key === "ArrowUp") setIndex((index - 1 + entries.length) % Math.max(1, entries.length));
    if (key === "Enter") choose(entries[index]);
  };
  return (
    <Modal visible header={t("search")} onDismiss={onClose} closeAriaLabel={t("common:close")}>
      <Input
        ref={input as never}
        type="search"
        value={text}
        ariaLabel={t("search")}
        placeholder={t("searchPlaceholder")}
        onChange={({ detail }) => {
          setText(detail.value);
          setIndex(0);
        }}
        onKeyDown={({ detail }) => move(detail.key)}
        nativeInputAttributes={{
          role: "combobox",
          "aria-expanded": true,
          "aria-controls": "nano-palette",
          "aria-activedescendant": entries[index] ? `nano-palette-${index}` : undefined,
        }}
      />
      <ul className="nano-palette" id="nano-palette" role="listbox" aria-label={t("search")}>
        {entries.map((entry, position) => (
          <li
            key={`${entry.kind}${entry.key}`}
            id={`nano-palette-${position}`}
            role="option"
            aria-selected={position === index}
            onClick={() => choose(entry)}
            onMouseMove={() => setIndex(position)}
          >
            <span>
              {entry.text} {entry.where && <small>{entry.where}</small>}
            </span>
            <small>{t(entry.kind)}</small>
          </li>
        ))}
        {entries.length === 0 && !found.isFetching && <li role="option" aria-selected={false}>{t("common:noMatch")}</li>}
      </ul>
    </Modal>
  );
}
