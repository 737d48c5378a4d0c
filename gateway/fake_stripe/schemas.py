"""The parameters of the larger operations: what a payment needs of them, and no more."""

from gateway.fake_stripe.parameters import (
    ADDRESS,
    BLANK,
    CENTS,
    FLAG,
    INTEGER,
    LIMIT,
    METADATA,
    TEXT,
    USD,
    Schema,
    choice,
    needed,
)

OFF_SESSION = choice("off_session", "on_session")
HOOKS: Schema = {"inputs": {"tax": {"calculation": needed(BLANK)}}}
CUSTOMER: Schema = {
    "address": ADDRESS,
    "business_name": BLANK,
    "description": BLANK,
    "email": BLANK,
    "individual_name": BLANK,
    "metadata": METADATA,
    "name": BLANK,
    "phone": BLANK,
    "preferred_locales": [TEXT],
    "tax_exempt": choice("exempt", "none", "reverse"),
}
SESSION: Schema = {
    "adaptive_pricing": {"enabled": FLAG},
    "automatic_tax": {"enabled": needed(FLAG)},
    "billing_address_collection": choice("auto", "required"),
    "cancel_url": TEXT,
    "client_reference_id": TEXT,
    "consent_collection": {
        "payment_method_reuse_agreement": {"position": needed(choice("auto", "hidden"))},
        "terms_of_service": choice("none", "required"),
    },
    "currency": USD,
    "custom_text": {
        "after_submit": {"message": needed(TEXT)},
        "submit": {"message": needed(TEXT)},
        "terms_of_service_acceptance": {"message": needed(TEXT)},
    },
    "customer": TEXT,
    "customer_email": TEXT,
    "customer_update": {
        "address": choice("auto", "never"),
        "name": choice("auto", "never"),
    },
    "expires_at": INTEGER,
    "invoice_creation": {
        "enabled": needed(FLAG),
        "invoice_data": {"description": TEXT, "footer": TEXT, "metadata": METADATA},
    },
    "line_items": needed(
        [
            {
                "price_data": needed(
                    {
                        "currency": needed(USD),
                        "product_data": needed(
                            {
                                "description": TEXT,
                                "metadata": METADATA,
                                "name": needed(TEXT),
                                "tax_code": TEXT,
                            }
                        ),
                        "tax_behavior": choice("exclusive"),
                        "unit_amount": needed(INTEGER),
                    }
                ),
                "quantity": INTEGER,
            }
        ]
    ),
    "locale": choice("auto", "en"),
    "metadata": METADATA,
    "mode": needed(choice("payment")),
    "payment_intent_data": {
        "description": TEXT,
        "metadata": METADATA,
        "receipt_email": TEXT,
        "setup_future_usage": OFF_SESSION,
        "statement_descriptor_suffix": TEXT,
    },
    "saved_payment_method_options": {
        "payment_method_remove": choice("disabled", "enabled"),
        "payment_method_save": choice("disabled", "enabled"),
    },
    "submit_type": choice("auto", "pay"),
    "success_url": needed(TEXT),
    "tax_id_collection": {
        "enabled": needed(FLAG),
        "required": choice("if_supported", "never"),
    },
}
INTENT: Schema = {
    "amount": needed(CENTS),
    "automatic_payment_methods": {
        "allow_redirects": choice("always", "never"),
        "enabled": needed(FLAG),
    },
    "confirm": FLAG,
    "currency": needed(USD),
    "customer": TEXT,
    "description": TEXT,
    "hooks": HOOKS,
    "metadata": METADATA,
    "off_session": FLAG,
    "payment_method": TEXT,
    "receipt_email": TEXT,
    "setup_future_usage": OFF_SESSION,
    "statement_descriptor_suffix": TEXT,
}
CALCULATION: Schema = {
    "currency": needed(USD),
    "customer": TEXT,
    "customer_details": {
        "address": {**ADDRESS, "country": needed(TEXT)},
        "address_source": choice("billing", "shipping"),
        "tax_ids": [{"type": needed(TEXT), "value": needed(TEXT)}],
    },
    "line_items": needed(
        [
            {
                "amount": needed(INTEGER),
                "quantity": INTEGER,
                "reference": TEXT,
                "tax_behavior": choice("exclusive"),
                "tax_code": TEXT,
            }
        ]
    ),
}
PAGE: Schema = {"limit": LIMIT, "starting_after": TEXT, "ending_before": TEXT}
DISPUTE: Schema = {
    "evidence": {"access_activity_log": TEXT, "uncategorized_text": TEXT},
    "metadata": METADATA,
    "submit": FLAG,
}
REFUND: Schema = {
    "amount": INTEGER,
    "charge": TEXT,
    "metadata": METADATA,
    "payment_intent": TEXT,
    "reason": choice("duplicate", "fraudulent", "requested_by_customer"),
}
PORTAL: Schema = {
    "configuration": TEXT,
    "customer": needed(TEXT),
    "locale": TEXT,
    "return_url": TEXT,
}
