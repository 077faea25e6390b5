// An instance's buttons: what makes most sense now in front, the rest in a menu, with the reason when disabled.
import Button from "@cloudscape-design/components/button";
import ButtonDropdown from "@cloudscape-design/components/button-dropdown";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate } from "react-router";
import type { Instance, InstanceAction } from "../api/types";
import { useFlashes } from "../app/flashes";
import { primaryAction, whyNot } from "../logic/bulk";
import { BulkAction } from "./bulk-action";
import { askFor } from "./instance-request";

const POWER: InstanceAction[] = ["start", "stop", "reboot", "pause", "resume", "power_off", "reset"];
/** Cutting power and deleting ask first. */
const ASKS: InstanceAction[] = ["power_off", "reset", "delete"];

export function InstanceActions({ instance }: { instance: Instance }) {
  const { t } = useTranslation("instances");
  const navigate = useNavigate();
  const run = useInstanceAction(instance);
  const [asked, setAsked] = useState<InstanceAction | null>(null);
  const primary = primaryAction(instance);
  const choose = (action: InstanceAction) => (ASKS.includes(action) ? setAsked(action) : void run(action));
  const item = (action: InstanceAction) => {
    const reason = whyNot(instance, action);
    return {
      id: action,
      text: t(`actions.${action}`),
      disabled: reason !== null,
      disabledReason: reason === null ? undefined : reason || t("notPossible"),
    };
  };
  return (
    <>
      <SpaceBetween direction="horizontal" size="xs">
        <Button
          variant="primary"
          disabled={item(primary).disabled}
          disabledReason={item(primary).disabledReason}
          onClick={() => choose(primary)}
        >
          {t(`actions.${primary}`)}
        </Button>
        <Button
          disabled={item("console").disabled}
          disabledReason={item("console").disabledReason}
          onClick={() => void navigate("?tab=console")}
        >
          {t("tabs.console")}
        </Button>
        <ButtonDropdown
          items={[...POWER.filter((action) => action !== primary).map(item), item("delete")]}
          onItemClick={({ detail }) => choose(detail.id as InstanceAction)}
        >
          {t("more")}
        </ButtonDropdown>
      </SpaceBetween>
      {asked && (
        <BulkAction
          action={asked}
          selection={[instance]}
          onClose={(hasChanged) => {
            setAsked(null);
            if (hasChanged && asked === "delete") void navigate("/instances");
          }}
        />
      )}
    </>
  );
}

export function useInstanceAction(instance: Instance) {
  const { t } = useTranslation("instances");
  const { follow } = useFlashes();
  return (action: InstanceAction) =>
    follow(t("doing", { action: t(`actions.${action}`), name: instance.name }), () => askFor(instance.id, action));
}
